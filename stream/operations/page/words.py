"""Texts for the page: whatever a letter says, it comes out as text, without secrets and numbers. Pure."""

from __future__ import annotations

import html
import re
from datetime import datetime, timedelta
from typing import Final

from stream.observe.redaction import redacted
from stream.operations.output import printable

LONGEST: Final = 300  # characters of one text
_NAME: Final = re.compile(r"[\w.:/-]{1,100}", re.ASCII)
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def shown(text: str) -> str:
    """A text of a letter, a circuit or a job, as HTML."""
    plain = " ".join(printable(redacted(text)).split())
    return html.escape(plain if len(plain) <= LONGEST else plain[:LONGEST] + "…")


def named(identifier: str) -> str:
    """A tenant's, a circuit's or a job's name, as HTML: people search for it, so it is masked only if it is no name."""
    return identifier if _NAME.fullmatch(identifier) else shown(identifier)


def ticked(sentence: str) -> str:
    """A sentence in which `ticks` mark code, as HTML."""
    parts = html.escape(sentence).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def chip(word: str, kind: str = "") -> str:
    """A word in a coloured box, as HTML.

    Args:
        word: The word.
        kind: `good`, `wait` or `bad`.
    """
    return f'<span class="chip {kind}">{html.escape(word)}</span>'


def moment(at: datetime) -> str:
    """A moment, to the minute."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def age(since: timedelta) -> str:
    """How long ago, in its largest unit and the next one: `3 d 4 h`."""
    left = max(0, int(since.total_seconds()))
    parts: list[str] = []
    for seconds, unit in _UNITS:
        if parts or left >= seconds or unit == "s":
            parts.append(f"{left // seconds} {unit}")
        left %= seconds
    return " ".join(parts[:2])


def rows(head: tuple[str, ...], cells: list[tuple[str, ...]]) -> str:
    """A table; in a narrow window each row is a card that names its columns.

    Args:
        head: The columns' names.
        cells: Rows of HTML.
    """
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr>{_row(head, row)}</tr>" for row in cells)
    return f'<div class="table"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(head: tuple[str, ...], cells: tuple[str, ...]) -> str:
    return "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in zip(head, cells, strict=True))
