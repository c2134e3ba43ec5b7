"""A guard for pamqp's decoding: a message that cannot be decoded must not end the connection, and must not be lost.

pamqp decodes a message's properties while it reads the connection. One message with a timestamp after the year 9999, or
with text that is not UTF-8, makes that fail: the connection closes, the broker delivers the message again, and so on
for ever. With the guard, such a message arrives with one header that says so. The worker leaves it to the broker, which
dead-letters the complete original.

A routing key may be any bytes too, and comes before the properties in the frame. Nothing here depends on it, so such a
message is delivered; `stream.broker.republish` copies the key.

The guard also keeps the bytes that were decoded, for the copy of a message: see `stream.broker.properties`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pamqp.base import BasicProperties
from pamqp.commands import Basic

NO_TEXT: Final = "surrogateescape"  # decodes bytes that are not UTF-8 to a text that encodes to the same bytes
UNREADABLE: Final = "x-unreadable-properties"


class Unreadable(str):
    """Why the properties could not be decoded: a header value of a type that no publisher can send."""

    __slots__ = ()


class ArrivedHeaders(dict[str, Any]):
    """A message's headers, and all its properties as bytes.

    True even when there is no header: aio-pika puts `headers or {}` into its message, and this object must get there.

    Attributes:
        flags: Which properties there are.
        data: Their bytes.
    """

    __slots__ = ("data", "flags")

    def __init__(self, headers: Mapping[str, Any] | None, flags: int, data: bytes) -> None:
        super().__init__(headers or {})
        self.flags = flags
        self.data = data

    def __bool__(self) -> bool:
        return True


_unmarshal = BasicProperties.unmarshal
_unmarshal_delivery = Basic.Deliver.unmarshal


def _guarded(properties: BasicProperties, flags: int, data: bytes) -> None:
    try:
        _unmarshal(properties, flags, data)
        headers = properties.headers  # type: ignore[attr-defined]
    except Exception as error:  # noqa: BLE001 - the bytes may make pamqp raise anything
        for name in properties.__slots__:
            setattr(properties, name, None)
        headers = {UNREADABLE: Unreadable(f"{type(error).__name__}: {error}"[:200])}
    properties.headers = ArrivedHeaders(headers, flags, data)  # type: ignore[attr-defined]


def _guarded_delivery(delivery: Basic.Deliver, data: bytes) -> None:
    try:
        _unmarshal_delivery(delivery, data)
    except UnicodeDecodeError:
        exchange_at = 1 + data[0] + 9  # after the consumer's tag, the delivery's (8 bytes) and the flag
        key_at = exchange_at + 1 + data[exchange_at]
        delivery.exchange = data[exchange_at + 1 : key_at].decode(errors=NO_TEXT)
        delivery.routing_key = data[key_at + 1 : key_at + 1 + data[key_at]].decode(errors=NO_TEXT)


def guard_deliveries() -> None:
    """Install the guard for the process; calling it again changes nothing."""
    BasicProperties.unmarshal = _guarded  # type: ignore[method-assign,assignment]
    Basic.Deliver.unmarshal = _guarded_delivery  # type: ignore[method-assign,assignment]
