"""What Meta's usage header says: when an account that made too many calls may call again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

USAGE: Final = "x-business-use-case-usage"
_REGAIN: Final = "estimated_time_to_regain_access"  # in minutes, as Meta documents


def regain_access_s(header: str | None) -> float | None:
    """The longest time to regain access that any entry of the header names, in seconds.

    Returns:
        `None` if it names none, or the header is absent or unreadable.
    """
    try:
        accounts = orjson.loads(header or "null")
    except orjson.JSONDecodeError:
        return None
    minutes = max(_minutes(accounts), default=0.0)
    return minutes * 60 if minutes > 0 else None


def _minutes(accounts: Any) -> Iterator[float]:
    for entries in accounts.values() if isinstance(accounts, dict) else ():
        for entry in entries if isinstance(entries, list) else ():
            minutes = entry.get(_REGAIN) if isinstance(entry, dict) else None
            if isinstance(minutes, int | float) and not isinstance(minutes, bool):
                yield float(minutes)
