"""The exchanges, queues and bindings, and how they are declared: idempotently, all of them, before anything consumes.

Declared on a channel of their own, over the connection that the application already has, so that a mismatch is found
with its reason and costs no other channel. Declared again after a reconnect: a broker may come back empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, cast

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelPreconditionFailed
from faststream.rabbit import ExchangeType, RabbitExchange, RabbitQueue
from faststream.rabbit.schemas.queue import ClassicQueueArgs, QueueType, QuorumQueueArgs

from stream.contract import delays
from stream.contract.queues import (
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_KEY,
    DEAD_LETTER_QUEUE,
    INTAKE_ARGUMENTS,
    INTAKE_BINDING,
    INTAKE_EXCHANGE,
    INTAKE_QUEUE,
)

QueueKind = Literal["classic", "quorum"]

INTAKE: Final = RabbitExchange(INTAKE_EXCHANGE, type=ExchangeType.TOPIC)
DEAD_LETTERS: Final = RabbitExchange(DEAD_LETTER_EXCHANGE, type=ExchangeType.TOPIC)
DECLARE_TIMEOUT_S: Final = 10.0

# At-least-once dead-lettering needs a queue that refuses instead of dropping its oldest messages.
_QUORUM_ARGUMENTS: Final = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


def intake_queue(kind: QueueKind) -> RabbitQueue:
    """The intake queue as FastStream's subscriber declares it."""
    if kind == "quorum":
        quorum = cast("QuorumQueueArgs", {**INTAKE_ARGUMENTS, **_QUORUM_ARGUMENTS})
        return RabbitQueue(INTAKE_QUEUE, queue_type=QueueType.QUORUM, routing_key=INTAKE_BINDING, arguments=quorum)
    classic = cast("ClassicQueueArgs", dict(INTAKE_ARGUMENTS))
    return RabbitQueue(INTAKE_QUEUE, durable=True, routing_key=INTAKE_BINDING, arguments=classic)


@lru_cache(maxsize=64)
def exchange(name: str) -> RabbitExchange:
    """A declared exchange by name, for publishing to it."""
    return RabbitExchange(name, type=ExchangeType.TOPIC)


class TopologyMismatch(Exception):  # noqa: N818 - it names what an operator finds
    """A queue or exchange exists with other properties than this worker needs."""


@dataclass(frozen=True, slots=True)
class _Queue:
    name: str
    exchange: str
    pattern: str
    arguments: dict[str, Any] = field(default_factory=dict)


def _arguments(kind: QueueKind, arguments: dict[str, Any]) -> dict[str, Any]:
    strategy = _QUORUM_ARGUMENTS if kind == "quorum" and "x-dead-letter-exchange" in arguments else {}
    return {**arguments, **strategy, "x-queue-type": kind}


def _queues() -> list[_Queue]:
    levels = [
        _Queue(
            delays.level_name(level),
            delays.level_name(level),
            delays.hold_pattern(level),
            {"x-message-ttl": delays.level_ttl_ms(level), "x-dead-letter-exchange": delays.next_exchange(level)},
        )
        for level in range(delays.LEVELS)
    ]
    return [
        _Queue(DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY),
        *levels,
        _Queue(INTAKE_QUEUE, INTAKE_EXCHANGE, INTAKE_BINDING, dict(INTAKE_ARGUMENTS)),
    ]


def exchange_names() -> list[str]:
    """Every exchange; all are durable topic exchanges."""
    levels = [delays.level_name(level) for level in range(delays.LEVELS)]
    return [INTAKE_EXCHANGE, DEAD_LETTER_EXCHANGE, delays.DELIVERY_EXCHANGE, *levels]


async def declare(connection: AbstractConnection, kind: QueueKind) -> None:
    """Declare the whole topology.

    Raises:
        TopologyMismatch: One sentence that names the entity, the argument, both values and what to do.
    """
    if connection.transport is None:
        raise ConnectionError("the connection to RabbitMQ is not open")
    channel = await connection.transport.connection.channel(publisher_confirms=False)
    try:
        await _declare_all(channel, kind)
    except ChannelPreconditionFailed as error:
        raise TopologyMismatch(explain_mismatch(str(error))) from None
    finally:
        if not channel.is_closed:
            await channel.close()


async def _declare_all(channel: AbstractChannel, kind: QueueKind) -> None:
    for name in exchange_names():
        await channel.exchange_declare(name, exchange_type="topic", durable=True, timeout=DECLARE_TIMEOUT_S)
    for queue in _queues():
        await channel.queue_declare(
            queue.name, durable=True, arguments=_arguments(kind, queue.arguments), timeout=DECLARE_TIMEOUT_S
        )
        await channel.queue_bind(queue.name, queue.exchange, queue.pattern, timeout=DECLARE_TIMEOUT_S)
    for level in range(delays.LEVELS):
        await channel.exchange_bind(
            delays.next_exchange(level), delays.level_name(level), delays.pass_pattern(level), timeout=DECLARE_TIMEOUT_S
        )
    await channel.queue_bind(
        INTAKE_QUEUE, delays.DELIVERY_EXCHANGE, delays.delivery_pattern(INTAKE_QUEUE), timeout=DECLARE_TIMEOUT_S
    )
    for name in (INTAKE_EXCHANGE, DEAD_LETTER_EXCHANGE):
        # Removing a binding that never was changes nothing, but RabbitMQ asks for the right to publish: without it,
        # events and dead letters would fail later, one by one.
        await channel.exchange_unbind(
            destination=name, source=delays.DELIVERY_EXCHANGE, routing_key="never-bound", timeout=DECLARE_TIMEOUT_S
        )


_MISMATCH: Final = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>queue|exchange) '(?P<name>[^']+)'.*?"
    r"received (?P<received>.+?) but current is (?P<current>.+?)(?:$|\")",
    re.DOTALL,
)


def explain_mismatch(text: str) -> str:
    """One sentence for an operator, from RabbitMQ's PRECONDITION_FAILED."""
    found = _MISMATCH.search(text)
    if not found:
        return f"RabbitMQ refuses the topology: {text}"
    kind, name = found["kind"], found["name"]
    return (
        f"RabbitMQ has {kind} '{name}' with {found['argument']} = {found['current']}, this worker needs "
        f"{found['received']}: drain and delete the {kind}, or make its other owner declare the same "
        f"(a queue's type is set by RABBITMQ_QUEUE_TYPE)"
    )
