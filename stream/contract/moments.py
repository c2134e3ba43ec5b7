"""Moments: as publishers write them (ISO 8601, or seconds or milliseconds since the epoch), and as the worker does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import WithJsonSchema

SECONDS_BELOW: Final = 1e10  # seconds reach this in the year 2286
MILLISECONDS: Final = (1e11, 1e13)  # from 1973 to 2286; a number between these ranges or beyond them is not a moment

# What the worker writes is RFC 3339 with an offset. A pattern too, because validators need not check formats.
MOMENT_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
}
Moment = Annotated[str, WithJsonSchema(MOMENT_SCHEMA)]

_NUMBER: Final = re.compile(r"\d{9,}(\.\d+)?")  # eight digits are a date


def iso_moment(text: str) -> datetime:
    """Read ISO 8601; a moment without a zone is in UTC, a date alone is its start.

    Raises:
        ValueError: It is something else.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def iso_moment_or_none(value: object) -> datetime | None:
    """What a header says, if it is a text in ISO 8601."""
    try:
        return iso_moment(value) if isinstance(value, str) else None
    except ValueError:
        return None


def read_moment(value: object) -> datetime:
    """Read any of the forms; a number may also be a text, as some encoders write long integers.

    Raises:
        ValueError: It is none of them.
    """
    if isinstance(value, str):
        return _from_epoch(float(value)) if _NUMBER.fullmatch(value) else iso_moment(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_epoch(value)
    raise ValueError


def _from_epoch(number: float) -> datetime:
    if 0 < number < SECONDS_BELOW:
        return datetime.fromtimestamp(number, UTC)
    low, high = MILLISECONDS
    if low <= number < high:
        return datetime.fromtimestamp(number / 1000, UTC)
    raise ValueError
