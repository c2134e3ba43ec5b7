"""Causes as a table, for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from stream.operations.dead_letters.groups import Group


def print_groups(groups: list[Group]) -> None:
    """Print causes as a table."""
    table = Table(
        "letters", "cause", "tenants", "first and last failure", "replay", "advice", "fingerprint, an example"
    )
    for group in groups:
        letter = group.example
        codes = "/".join(str(code) for code in (letter.code, letter.subcode) if code is not None)
        span = " - ".join(f"{moment:%m-%d %H:%M}" for moment in (group.first, group.last) if moment)
        table.add_row(
            f"{group.count:,}",
            " ".join(filter(None, (letter.error_type, codes, letter.template_name))) + f"\n{letter.detail[:120]}",
            _some(sorted(group.tenants)),
            span,
            group.replay,
            group.advice,
            f"{letter.fingerprint}\n{letter.id}",
        )
    Console().print(table if groups else "no dead letters")


def _some(names: list[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
