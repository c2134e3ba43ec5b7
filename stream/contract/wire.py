"""A guard at the wire: properties that cannot be decoded must not take the connection down.

pamqp decodes a message's properties while it reads the connection. One message with a timestamp beyond the year 9999,
or with text that is not UTF-8, makes that fail; the connection closes, the broker delivers the message again, and so on
for ever. With the guard such a message arrives with one header that says so, and the consumer leaves it to the broker,
which dead-letters the original with everything in it.
"""

from __future__ import annotations

from typing import Final

from pamqp.base import BasicProperties

UNREADABLE: Final = "x-unreadable-properties"


class Unreadable(str):
    """Why the properties could not be decoded: the one header value that no publisher can send."""

    __slots__ = ()


_unmarshal = BasicProperties.unmarshal


def _guarded(properties: BasicProperties, flags: int, data: bytes) -> None:
    try:
        _unmarshal(properties, flags, data)
    except Exception as error:  # noqa: BLE001 - whatever the bytes make pamqp raise
        for name in properties.__slots__:
            setattr(properties, name, None)
        properties.headers = {UNREADABLE: Unreadable(f"{type(error).__name__}: {error}"[:200])}  # type: ignore[attr-defined]


def guard_properties() -> None:
    """Install the guard for the process; calling it again changes nothing."""
    BasicProperties.unmarshal = _guarded  # type: ignore[method-assign,assignment]
