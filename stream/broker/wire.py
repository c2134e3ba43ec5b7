"""A guard at the wire: what cannot be decoded must not take the connection down, and none of it may be lost.

pamqp decodes a message's properties while it reads the connection. One message with a timestamp beyond the year 9999,
or with text that is not UTF-8, makes that fail; the connection closes, the broker delivers the message again, and so on
for ever. With the guard such a message arrives with one header that says so, and the consumer leaves it to the broker,
which dead-letters the original with everything in it.

A routing key may be any bytes too, and stands in the frame before the properties. Nothing here depends on it, so such a
message is delivered: see `stream.broker.republish` for the key's way into a copy.

The guard also keeps the bytes that were decoded, for the copy of a message: see `stream.broker.properties`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pamqp.base import BasicProperties
from pamqp.commands import Basic

NO_TEXT: Final = "surrogateescape"  # how bytes that are not UTF-8 are told as text, from which they can be had again
UNREADABLE: Final = "x-unreadable-properties"


class Unreadable(str):
    """Why the properties could not be decoded: the one header value that no publisher can send."""

    __slots__ = ()


class ArrivedHeaders(dict[str, Any]):
    """A message's headers, and all its properties as they stood on the wire.

    True even when there is no header: aio-pika takes `headers or {}` over into its message, and these must get there.

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
    except Exception as error:  # noqa: BLE001 - whatever the bytes make pamqp raise
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
