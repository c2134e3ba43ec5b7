"""Copying a message: the same bytes, properties and headers, except those that the broker would act on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from aio_pika.abc import AbstractIncomingMessage
from pamqp import encode

from stream.broker import properties as wire
from stream.broker.properties import Malformed, Table
from stream.broker.wire import NO_TEXT, ArrivedHeaders
from stream.contract import headers as names

# AMQP sends all properties in one frame (131,072 bytes by default), and the broker closes the connection if it is
# larger. The frame also holds its own 8 bytes, the header's 14, and a message id where there was none.
LARGEST_PROPERTIES: Final = 100_000
FRAME_RESERVE: Final = 64

# The broker's own records. With a copied x-death, RabbitMQ takes a second wait for a dead-letter cycle and drops the
# message. The counts start again from zero.
_BROKER_OWNED: Final = frozenset({b"x-death", b"x-delivery-count", b"x-acquired-count"})
_BROKER_OWNED_PREFIXES: Final = (b"x-first-death-", b"x-last-death-")
# Sender-selected distribution: a copy that carries these would be routed to more queues than it is meant for.
_ROUTING_HEADERS: Final = {name: (names.ORIGINAL_PREFIX + name.lower().decode()).encode() for name in (b"CC", b"BCC")}

TRACE_PARENT: Final = "traceparent"
TRACE_STATE: Final = b"tracestate"

_PERSISTENT: Final = b"\x02"
_UNSIGNED_BYTE: Final = b"B"
_TEXT: Final = b"S"


class NotRepublishable(ValueError):  # noqa: N818 - it describes the message, not a mistake of the caller
    """The copy cannot be sent over AMQP; only the broker itself can move this message."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A persistent copy, ready for the wire.

    Attributes:
        body: The original's bytes.
        properties: Encoded, by pamqp's names.
    """

    body: bytes
    properties: Mapping[str, bytes]


def waiting_copy(incoming: AbstractIncomingMessage, extra_headers: Mapping[str, Any]) -> Copy:
    """A copy that will come back to the intake.

    Its priority is kept in `x-original-priority`: RabbitMQ from 4.3 on orders a quorum queue by priority, and a message
    with a high one at the head of a delay level would delay those behind it whose wait has ended.

    Raises:
        NotRepublishable: The properties are too large, or no AMQP.
    """
    values, table = _kept(incoming)
    if (priority := values.pop("priority", None)) is not None:
        table[names.ORIGINAL_PRIORITY.encode()] = _UNSIGNED_BYTE + priority
    return _copy(incoming, values, table, extra_headers)


def final_copy(incoming: AbstractIncomingMessage, extra_headers: Mapping[str, Any]) -> Copy:
    """A copy for the dead-letter queue, with the priority that the publisher gave.

    Raises:
        NotRepublishable: The properties are too large, or no AMQP.
    """
    values, table = _kept(incoming)
    _give_priority_back(values, table)
    return _copy(incoming, values, table, extra_headers)


def replayed_copy(
    incoming: AbstractIncomingMessage, extra_headers: Mapping[str, Any], *, without: Iterable[str], body: bytes
) -> Copy:
    """A copy of a dead letter that starts anew.

    It has the priority that the publisher gave, also where RabbitMQ itself moved the letter after a wait.

    Args:
        incoming: The letter.
        extra_headers: What is added.
        without: Headers that are left out: why it failed, and its history.
        body: The letter's own, or an edited one.

    Raises:
        NotRepublishable: The properties are too large, or no AMQP.
    """
    values, table = _kept(incoming)
    _give_priority_back(values, table)
    for name in without:
        table.pop(name.encode(), None)
    return replace(_copy(incoming, values, table, extra_headers), body=body)


def _give_priority_back(values: dict[str, bytes], table: Table) -> None:
    """Undo what `waiting_copy` does with the priority."""
    original = table.get(names.ORIGINAL_PRIORITY.encode(), b"")
    if original[:1] == _UNSIGNED_BYTE and "priority" not in values:  # without it, no worker wrote the header
        values["priority"] = original[1:]
        del table[names.ORIGINAL_PRIORITY.encode()]


def keep_aside(values: dict[str, bytes], table: Table) -> None:
    """Move `user_id` (which the broker compares with the publisher's own) and `expiration` to headers of a copy."""
    if (user_id := values.pop("user_id", None)) is not None:
        table.setdefault(names.ORIGINAL_USER_ID.encode(), _text(wire.short_text(user_id)))
    if (expiration := values.pop("expiration", None)) is not None:
        table[names.ORIGINAL_EXPIRATION.encode()] = _text(wire.short_text(expiration))


def _kept(incoming: AbstractIncomingMessage) -> tuple[dict[str, bytes], Table]:
    """What a copy keeps.

    `user_id`, `expiration` (which would end a wait early, or remove a dead letter) and the routing headers are kept
    under `x-original-…`.
    """
    try:
        values = _arrived(incoming)
        table = _kept_headers(values.pop("headers", None))
    except Malformed as error:
        raise NotRepublishable(str(error)) from None
    keep_aside(values, table)
    # A message back from a wait carries the delay's routing key; the first one was kept.
    table.setdefault(names.ORIGINAL_ROUTING_KEY.encode(), _text((incoming.routing_key or "").encode(errors=NO_TEXT)))
    return values, table


def _arrived(incoming: AbstractIncomingMessage) -> dict[str, bytes]:
    headers = incoming.headers
    if not isinstance(headers, ArrivedHeaders):
        raise Malformed("the message came on a connection without the guard of stream.broker.wire")
    return wire.split(headers.flags, headers.data)


def _kept_headers(encoded: bytes | None) -> Table:
    table = wire.split_table(encoded) if encoded else {}
    return {
        _ROUTING_HEADERS.get(name, name): value
        for name, value in table.items()
        if name not in _BROKER_OWNED and not name.startswith(_BROKER_OWNED_PREFIXES)
    }


def _copy(
    incoming: AbstractIncomingMessage, values: dict[str, bytes], table: Table, extra_headers: Mapping[str, Any]
) -> Copy:
    if TRACE_PARENT in extra_headers:
        table.pop(TRACE_STATE, None)  # it belongs to the replaced traceparent
    table.update(wire.table_of(extra_headers))
    values |= {"headers": wire.join_table(table), "delivery_mode": _PERSISTENT}
    size = sum(map(len, values.values()))
    if size > (limit := _limit(incoming)):
        raise NotRepublishable(f"the properties take {size} bytes, more than {limit}")
    return Copy(incoming.body, values)


def _limit(incoming: AbstractIncomingMessage) -> int:
    """Bytes that the properties of a copy may take on the connection that the message came on."""
    channel: Any = incoming.channel  # aiormq has computed what is left of the negotiated frame
    frame = channel.max_content_size
    return min(LARGEST_PROPERTIES, frame - FRAME_RESERVE) if frame > 0 else LARGEST_PROPERTIES


def _text(value: bytes) -> bytes:
    return _TEXT + encode.long_uint(len(value)) + value
