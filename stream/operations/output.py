"""What a command prints: text for people, or one JSON object a line for scripts."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for scripts.")]


def say(text: str, facts: dict[str, Any], *, as_json: bool) -> None:
    """Print one line: the text, or the facts."""
    typer.echo(orjson.dumps(facts).decode() if as_json else text)
