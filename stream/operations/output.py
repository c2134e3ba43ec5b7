"""What a command prints: text for people, or one JSON object a line for scripts."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
import typer

REPLACED: Final = "\N{REPLACEMENT CHARACTER}"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for scripts.")]


def say(text: str, facts: dict[str, Any], *, as_json: bool) -> None:
    """Print one line: the text, or the facts."""
    typer.echo(orjson.dumps(facts).decode() if as_json else text)


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey; line breaks stay."""
    return "".join(each if each.isprintable() or each == "\n" else REPLACED for each in text)
