"""Copying a message: the same bytes, properties and headers, less what would make the broker act on the copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage
from pamqp import encode

from stream.contract import headers as names

# AMQP sends all headers in one frame (131,072 bytes by default) and the broker closes the connection over a larger one.
LARGEST_HEADERS: Final = 100_000

# The broker's own bookkeeping. A copied x-death makes RabbitMQ take a second wait for a dead-letter cycle and drop the
# message; x-delivery-count is counted anew.
_BROKER_OWNED: Final = frozenset({"x-death", "x-delivery-count"})
_BROKER_OWNED_PREFIXES: Final = ("x-first-death-", "x-last-death-")
# Sender-selected distribution: a copy that carries these would be routed to more queues than it is meant for.
_ROUTING_HEADERS: Final = frozenset({"CC", "BCC"})


class NotRepublishable(ValueError):  # noqa: N818 - a verdict on the message, not on the caller
    """The copy cannot be sent over AMQP; only the broker itself can move this message."""


def copy_of(incoming: AbstractIncomingMessage, extra_headers: Mapping[str, Any]) -> Message:
    """A persistent copy of `incoming` with `extra_headers` added.

    `user_id` (which the broker compares with the publisher's own), `expiration` (which would end a wait early, or
    remove a dead letter) and the routing headers travel under `x-original-…`.

    Raises:
        NotRepublishable: The headers are too large, or of a kind that AMQP cannot carry again.
    """
    headers = {**_kept(incoming), **extra_headers}
    _check(headers)
    return Message(
        incoming.body,
        headers=headers,
        delivery_mode=DeliveryMode.PERSISTENT,
        content_type=incoming.content_type,
        content_encoding=incoming.content_encoding,
        priority=incoming.priority,
        correlation_id=incoming.correlation_id,
        reply_to=incoming.reply_to,
        message_id=incoming.message_id,
        timestamp=incoming.timestamp,
        type=incoming.type,
        app_id=incoming.app_id,
    )


def _kept(incoming: AbstractIncomingMessage) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in incoming.headers.items():
        if name in _BROKER_OWNED or name.startswith(_BROKER_OWNED_PREFIXES):
            continue
        kept[names.ORIGINAL_PREFIX + name.lower() if name in _ROUTING_HEADERS else name] = value
    if incoming.user_id:
        kept.setdefault(names.ORIGINAL_USER_ID, incoming.user_id)
    if incoming.expiration is not None:
        kept[names.ORIGINAL_EXPIRATION] = str(round(float(str(incoming.expiration)) * 1000))  # ms, as in AMQP
    # A message back from a wait carries the delay's routing key; the first one was kept.
    kept.setdefault(names.ORIGINAL_ROUTING_KEY, incoming.routing_key or "")
    return kept


def _check(headers: Mapping[str, Any]) -> None:
    try:
        size = len(encode.field_table(dict(headers)))
    except Exception as error:  # noqa: BLE001 - the encoder raises whatever its struct module does
        raise NotRepublishable(f"a header cannot be encoded: {error}") from None
    if size > LARGEST_HEADERS:
        raise NotRepublishable(f"the headers take {size} bytes, more than {LARGEST_HEADERS}")
