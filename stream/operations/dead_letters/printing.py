"""Causes as text, for people: each fact begins a line, and nothing is cut off, however narrow the terminal."""

from __future__ import annotations

import shutil
import textwrap
from typing import Final

import typer

from stream.operations.dead_letters.groups import Group
from stream.operations.output import printable

LABEL: Final = 15  # columns before a fact


def print_groups(groups: list[Group]) -> None:
    """Print causes, the most frequent first."""
    columns = max(shutil.get_terminal_size().columns, 2 * LABEL)
    for group in groups:
        typer.echo(printable(_text(group, columns)) + "\n")


def nothing_found(lying: int) -> str:
    """What is said instead of letters, where so many lie there."""
    return f"none of {lying:,} dead letters is meant by the filter" if lying else "no dead letters"


def _text(group: Group, columns: int) -> str:
    letter = group.example
    codes = "/".join(str(code) for code in (letter.code, letter.subcode) if code is not None)
    cause = " ".join(filter(None, (letter.error_type, codes, letter.template_name)))
    facts = {
        "detail": letter.detail[:120],
        "tenants": _some(sorted(group.tenants)),
        "failed": _span(group),
        "replay": group.replay,
        "advice": group.advice,
        "fingerprint": letter.fingerprint,
        "example": letter.id,
    }
    lines = [_line(name, fact, columns) for name, fact in facts.items() if fact]
    return "\n".join([f"{group.count:,} x {cause}", *lines])


def _span(group: Group) -> str:
    moments = dict.fromkeys(f"{moment:%m-%d %H:%M}" for moment in (group.first, group.last) if moment)
    return " - ".join(moments) + " UTC" if moments else ""


def _line(name: str, fact: str, columns: int) -> str:
    """A fact behind its name; in a terminal that is too narrow it goes on below itself. No word is divided."""
    return textwrap.fill(
        fact,
        columns,
        initial_indent=f"  {name:<12} ",
        subsequent_indent=" " * LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _some(names: list[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
