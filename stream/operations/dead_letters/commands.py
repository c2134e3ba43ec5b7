"""`stream dead-letters groups`, `list`, `show` and `export`: commands that look and change nothing."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Iterable
from enum import StrEnum
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Final

import orjson
import typer

from stream.operations.dead_letters.bring_back import import_
from stream.operations.dead_letters.discard import discard
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.groups import Groups
from stream.operations.dead_letters.looking import Seen, look_through
from stream.operations.dead_letters.options import filtered
from stream.operations.dead_letters.printing import nothing_found, print_groups
from stream.operations.dead_letters.replay import replay
from stream.operations.dead_letters.spool import disk_is_named
from stream.operations.dead_letters.story import Story, story
from stream.operations.exits import ExitCode, run
from stream.operations.output import Json, printable

IN_MEMORY: Final = 16 * 1024 * 1024  # bytes of output; more goes to a temporary file until the look has ended

app = typer.Typer(help="What is in the dead-letter queue, and how to get it back.")


class Format(StrEnum):
    """How `export` writes."""

    JSONL = "jsonl"
    CSV = "csv"


@app.command(epilog="Example: stream dead-letters groups")
@filtered
def groups(wanted: Filter, *, as_json: Json = False) -> None:
    """Show the causes: how many letters each has, whose they are, and what to do."""
    found = Groups()
    lying = run(look_through(wanted, lambda seen: found.add(seen.letter)))
    if as_json:
        for group in found.all():
            typer.echo(orjson.dumps(group.to_json()).decode())
        return
    print_groups(found.all())
    if not found.all():
        typer.echo(nothing_found(lying))


@app.command(name="list", epilog="Example: stream dead-letters list --type AUTH_ERROR --newer-than 2h")
@filtered
def list_(wanted: Filter, *, as_json: Json = False) -> None:
    """Show letters, one a line. Times are in UTC."""
    with SpooledTemporaryFile(IN_MEMORY, "w+", encoding="utf-8") as lines:
        lying = run(look_through(wanted, lambda seen: write_line(lines, seen, as_json=as_json)))
        if not lines.tell() and not as_json:
            typer.echo(nothing_found(lying), err=True)
        _copy_out(lines)


@app.command(epilog="Example: stream dead-letters show 0f3a9c2e5b7d1846")
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` names it.")],
    *,
    reveal: Annotated[bool, typer.Option(help="Show phone numbers.")] = False,
    as_json: Json = False,
) -> None:
    """Show all that is known of one letter, and a curl command that repeats its request."""
    kept: list[Story] = []
    run(look_through(Filter(id=letter_id), lambda seen: kept.append(story(seen, reveal=reveal))))
    if not kept:
        typer.echo(f"no letter {letter_id} lies there", err=True)
        raise typer.Exit(ExitCode.WRONG_USE)
    for each in kept[:1]:
        typer.echo(orjson.dumps(each.to_json(), default=str).decode() if as_json else printable(each.to_text()))


@app.command(epilog="Example: stream dead-letters export --tenant acme --format csv > letters.csv")
@filtered
def export(
    wanted: Filter,
    *,
    form: Annotated[Format, typer.Option("--format", help="JSON lines, or CSV.")] = Format.JSONL,
    as_json: Json = False,
) -> None:
    """Write letters to stdout, without their bodies. --json is --format jsonl."""
    with SpooledTemporaryFile(IN_MEMORY, "w+", encoding="utf-8", newline="") as lines:
        if as_json or form is Format.JSONL:
            run(look_through(wanted, lambda seen: write_line(lines, seen, as_json=True)))
        else:
            run(look_through(wanted, _csv_writer(lines)))
        _copy_out(lines)


@disk_is_named()
def write_line(lines: IO[str], seen: Seen, *, as_json: bool) -> None:
    """Write a letter as one line."""
    letter = seen.letter
    if as_json:
        lines.write(orjson.dumps(letter.to_json()).decode() + "\n")
        return
    failed = f"{letter.failed_at:%Y-%m-%d %H:%M:%S}" if letter.failed_at else "-"
    words = (
        letter.id,
        failed,
        letter.error_type,
        letter.code or "-",
        letter.tenant_id or "-",
        letter.internal_id or "-",
    )
    lines.write(_one_line((*words, letter.replay, letter.detail[:80])) + "\n")


def _one_line(words: Iterable[object]) -> str:
    return printable("  ".join(map(str, words)).replace("\n", " "))


class _csv_writer:  # noqa: N801 - it is used as a function
    """Writes letters as rows; the names of the columns stand above the first."""

    def __init__(self, lines: IO[str]) -> None:
        self._lines = lines
        self._rows: csv.DictWriter[str] | None = None

    @disk_is_named()
    def __call__(self, seen: Seen) -> None:
        """Write one row."""
        fields = seen.letter.to_json()
        if self._rows is None:
            self._rows = csv.DictWriter(self._lines, list(fields))
            self._rows.writeheader()
        self._rows.writerow(fields)


def _copy_out(lines: IO[str]) -> None:
    lines.seek(0)
    shutil.copyfileobj(lines, sys.stdout)


app.command(epilog="Example: stream dead-letters replay --type AUTH_ERROR --reason 'new token' --yes")(replay)
app.command(epilog="Example: stream dead-letters discard --older-than 30d --reason old --backup old.gz --yes")(discard)
app.command(name="import", epilog="Example: stream dead-letters import old.gz")(import_)
