"""Causes as text, for people: one fact a line, so that nothing is cut off, however narrow the terminal."""

from __future__ import annotations

import typer

from stream.operations.dead_letters.groups import Group
from stream.operations.output import printable


def print_groups(groups: list[Group]) -> None:
    """Print causes, the most frequent first."""
    for group in groups:
        typer.echo(printable(_text(group)) + "\n")
    if not groups:
        typer.echo("no dead letters")


def _text(group: Group) -> str:
    letter = group.example
    codes = "/".join(str(code) for code in (letter.code, letter.subcode) if code is not None)
    cause = " ".join(filter(None, (letter.error_type, codes, letter.template_name)))
    facts = {
        "detail": letter.detail[:120],
        "tenants": _some(sorted(group.tenants)),
        "failed": " - ".join(f"{moment:%m-%d %H:%M}" for moment in (group.first, group.last) if moment),
        "replay": group.replay,
        "advice": group.advice,
        "fingerprint": letter.fingerprint,
        "example": letter.id,
    }
    return "\n".join([f"{group.count:,} x {cause}", *(f"  {name:<12} {fact}" for name, fact in facts.items() if fact)])


def _some(names: list[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
