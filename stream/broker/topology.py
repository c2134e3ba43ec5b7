"""The exchanges, queues and bindings, and how they are declared: idempotently, all of them, before anything consumes.

Declared on a channel of their own, over the connection that the application already has, so that a mismatch is found
with its reason and costs no other channel. Declared again after a reconnect: a broker may come back empty.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, cast

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed
from faststream.rabbit import ExchangeType, RabbitExchange, RabbitQueue
from faststream.rabbit.schemas.queue import ClassicQueueArgs, QueueType, QuorumQueueArgs

from stream.contract import delays
from stream.contract.lanes import DEFAULT_LANES, MOST_LANES, lane_name, lane_names
from stream.contract.queues import (
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_KEY,
    DEAD_LETTER_QUEUE,
    DUE_QUEUE,
    INTAKE_ARGUMENTS,
    INTAKE_BINDING,
    INTAKE_EXCHANGE,
    INTAKE_QUEUE,
    QueueKind,
)

INTAKE: Final = RabbitExchange(INTAKE_EXCHANGE, type=ExchangeType.TOPIC)
DELIVERY: Final = RabbitExchange(delays.DELIVERY_EXCHANGE, type=ExchangeType.TOPIC)
DEAD_LETTERS: Final = RabbitExchange(DEAD_LETTER_EXCHANGE, type=ExchangeType.TOPIC)
DECLARE_TIMEOUT_S: Final = 10.0

# At-least-once dead-lettering needs a queue that refuses instead of dropping its oldest messages.
_AT_LEAST_ONCE: Final = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}

# From 4.0 on, RabbitMQ takes a message off a quorum queue when it has come back 20 times: a dead letter that somebody
# looked at is then gone. -1 switches that off. Before 4.0 there is no limit, and -1 would mean "at once".
DELIVERY_LIMIT: Final = "x-delivery-limit"
_NO_DELIVERY_LIMIT: Final = {DELIVERY_LIMIT: -1}
FIRST_MAJOR_WITH_LIMIT: Final = 4


def intake_queue(kind: QueueKind, *, unlimited: bool = False) -> RabbitQueue:
    """The intake queue as FastStream's subscriber declares it.

    Args:
        kind: `RABBITMQ_QUEUE_TYPE`.
        unlimited: It was declared without a delivery limit: see `Declared`.
    """
    if kind == "quorum":
        return _quorum_queue(INTAKE_QUEUE, INTAKE_BINDING, unlimited=unlimited)
    classic = cast("ClassicQueueArgs", dict(INTAKE_ARGUMENTS))
    return RabbitQueue(INTAKE_QUEUE, durable=True, routing_key=INTAKE_BINDING, arguments=classic)


def due_queue(*, unlimited: bool = False) -> RabbitQueue:
    """The queue of messages whose reserved time has come, as FastStream's subscriber declares it.

    Args:
        unlimited: It was declared without a delivery limit: see `Declared`.
    """
    return _quorum_queue(DUE_QUEUE, delays.delivery_pattern(DUE_QUEUE), unlimited=unlimited)


def _quorum_queue(name: str, binding: str, *, unlimited: bool) -> RabbitQueue:
    limit = _NO_DELIVERY_LIMIT if unlimited else {}
    arguments = cast("QuorumQueueArgs", {**INTAKE_ARGUMENTS, **_AT_LEAST_ONCE, **limit})
    return RabbitQueue(name, queue_type=QueueType.QUORUM, routing_key=binding, arguments=arguments)


def consumed_queue(name: str, kind: QueueKind, unlimited: frozenset[str]) -> RabbitQueue:
    """Any queue that this worker consumes, as it was declared: see `Declared`."""
    is_unlimited = name in unlimited
    if name == INTAKE_QUEUE:
        return intake_queue(kind, unlimited=is_unlimited)
    return _quorum_queue(name, delays.delivery_pattern(name), unlimited=is_unlimited)


class TopologyMismatch(Exception):  # noqa: N818 - it names what an operator finds
    """A queue or exchange exists with other properties than this worker needs."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What was found while declaring.

    Attributes:
        unlimited: Queues that were declared with `x-delivery-limit: -1`.
        limited: Quorum queues of a RabbitMQ from 4.0 on that exist without it, from an earlier start: after 20 returns
            RabbitMQ takes a message off them.
        former_levels: Messages on the delay levels of an earlier release; `None` when there are no such levels.
        lanes: The lanes: as many as `LANES` says, and those that exist beyond, from a start with a higher number.
    """

    unlimited: frozenset[str] = frozenset()
    limited: tuple[str, ...] = ()
    former_levels: int | None = None
    lanes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Queue:
    name: str
    exchange: str
    pattern: str
    kind: QueueKind
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def declared_with(self) -> dict[str, Any]:
        dead_letters = self.kind == "quorum" and "x-dead-letter-exchange" in self.arguments
        return {"x-queue-type": self.kind, **self.arguments, **(_AT_LEAST_ONCE if dead_letters else {})}


def _levels() -> list[_Queue]:
    return [
        _Queue(
            delays.level_name(level),
            delays.level_name(level),
            delays.hold_pattern(level),
            "quorum",
            {"x-message-ttl": delays.level_ttl_ms(level), "x-dead-letter-exchange": delays.next_exchange(level)},
        )
        for level in range(delays.LEVELS)
    ]


def _own(name: str) -> _Queue:
    """A queue to which messages come from the delay levels, and that nobody else uses."""
    return _Queue(name, delays.DELIVERY_EXCHANGE, delays.delivery_pattern(name), "quorum", INTAKE_ARGUMENTS)


def _shared(kind: QueueKind) -> list[_Queue]:
    """The queues that other services may declare too."""
    return [
        _Queue(DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, kind),
        _Queue(INTAKE_QUEUE, INTAKE_EXCHANGE, INTAKE_BINDING, kind, INTAKE_ARGUMENTS),
    ]


def _consumed(kind: QueueKind, lanes: tuple[str, ...]) -> list[_Queue]:
    """The queues whose messages are taken and given back, so that a delivery limit would lose some."""
    return [*_shared(kind), _own(DUE_QUEUE), *map(_own, lanes)]


def major_version(server_properties: Mapping[str, Any] | None) -> int:
    """RabbitMQ's, from what it says of itself; 0 if it does not."""
    major = str((server_properties or {}).get("version", "")).split(".", maxsplit=1)[0]
    return int(major) if major.isdecimal() else 0


def shared_arguments(kind: QueueKind, unlimited: frozenset[str]) -> dict[str, dict[str, Any]]:
    """The arguments of the queues that other services may declare too, by their names.

    Args:
        kind: `RABBITMQ_QUEUE_TYPE`.
        unlimited: Those that were declared without a delivery limit: see `Declared`.
    """
    return {
        queue.name: {**queue.declared_with, **(_NO_DELIVERY_LIMIT if queue.name in unlimited else {})}
        for queue in _shared(kind)
    }


def exchange_names() -> list[str]:
    """Every exchange; all are durable topic exchanges."""
    levels = [delays.level_name(level) for level in range(delays.LEVELS)]
    return [INTAKE_EXCHANGE, DEAD_LETTER_EXCHANGE, delays.DELIVERY_EXCHANGE, *levels]


async def declare(
    connection: AbstractConnection, kind: QueueKind, lanes: int = DEFAULT_LANES, *, known: Declared | None = None
) -> Declared:
    """Declare the whole topology.

    Args:
        connection: An open one.
        kind: `RABBITMQ_QUEUE_TYPE`, for the intake and `outbound-failed`; all others are always quorum queues.
        lanes: `LANES`.
        known: What an earlier declaration has found; it is not looked for again. RabbitMQ answers a look for what is
            not there by closing the channel, and aiormq may open another one under its number too early: RabbitMQ then
            closes the connection. That is harmless only while nothing is consumed.

    Raises:
        TopologyMismatch: One sentence that names the entity, the argument, both values and what to do.
    """
    if connection.transport is None:
        raise ConnectionError("the connection to RabbitMQ is not open")
    async with _Channels(connection.transport.connection) as channels:
        try:
            return await _declare_all(channels, kind, lanes, known)
        except ChannelPreconditionFailed as error:
            raise TopologyMismatch(explain_mismatch(str(error))) from None
        except asyncio.CancelledError:
            # A connection that dies under a declaration raises this too; only a real cancellation goes on up.
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise ConnectionError("the connection to RabbitMQ was lost") from None
        except Exception as error:
            # What aiormq raises for a connection that ends between two frames has no class of its own.
            if type(error) is not Exception:
                raise
            raise ConnectionError("the connection to RabbitMQ ended") from None


class _Channels:
    """One channel at a time, and another one after the broker has closed it over a refusal."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._channel is not None and not self._channel.is_closed:
            await self._channel.close()

    @property
    def knows_no_limit(self) -> bool:
        """Whether the broker takes -1 for "no delivery limit"."""
        return major_version(self._connection.server_properties) >= FIRST_MAJOR_WITH_LIMIT

    async def open(self) -> AbstractChannel:
        if self._channel is None or self._channel.is_closed:
            try:
                self._channel = await self._connection.channel(publisher_confirms=False)
            except RuntimeError as error:  # aiormq's word for a connection that is closed
                raise ConnectionError(str(error)) from None
        return self._channel


async def _declare_all(channels: _Channels, kind: QueueKind, lanes: int, known: Declared | None) -> Declared:
    lane_queues = known.lanes if known else lane_names(lanes) + await _former_lanes(channels, lanes)
    channel = await channels.open()
    for name in exchange_names():
        await channel.exchange_declare(name, exchange_type="topic", durable=True, timeout=DECLARE_TIMEOUT_S)
    consumed, unlimited = _consumed(kind, lane_queues), set[str]()
    can_be_limited = {queue.name for queue in consumed if queue.kind == "quorum" and channels.knows_no_limit}
    for queue in consumed:
        if known and queue.name in known.limited and await _exists(channels, queue):
            continue
        if queue.name in can_be_limited and await _declared_without_limit(channels, queue):
            unlimited.add(queue.name)
        else:
            await _declare_queue(await channels.open(), queue)
    channel = await channels.open()
    for queue in _levels():
        await _declare_queue(channel, queue)
    await _bind_all(channel, [*consumed, *_levels()])
    limited = tuple(sorted(can_be_limited - unlimited))
    former_levels = known.former_levels if known else await _former_levels(channels)
    return Declared(frozenset(unlimited), limited, former_levels, lane_queues)


async def _declare_queue(channel: AbstractChannel, queue: _Queue, **more: Any) -> None:
    arguments = {**queue.declared_with, **more}
    await channel.queue_declare(queue.name, durable=True, arguments=arguments, timeout=DECLARE_TIMEOUT_S)


async def _exists(channels: _Channels, queue: _Queue) -> bool:
    try:
        await (await channels.open()).queue_declare(queue.name, passive=True, timeout=DECLARE_TIMEOUT_S)
    except ChannelNotFoundEntity:
        return False
    return True


async def _declared_without_limit(channels: _Channels, queue: _Queue) -> bool:
    """Declare a queue without a delivery limit; false if it exists from before, declared in another way."""
    try:
        await _declare_queue(await channels.open(), queue, **_NO_DELIVERY_LIMIT)
    except ChannelPreconditionFailed as error:
        if f"'{DELIVERY_LIMIT}'" not in str(error):
            raise
        return False
    return True


async def _bind_all(channel: AbstractChannel, queues: list[_Queue]) -> None:
    for queue in queues:
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


async def _former_lanes(channels: _Channels, lanes: int) -> tuple[str, ...]:
    """The lanes that exist from `LANES` on: they were declared together, so the first that is missing is the end."""
    found: list[str] = []
    try:
        channel = await channels.open()
        for number in range(lanes, MOST_LANES):
            await channel.queue_declare(lane_name(number), passive=True, timeout=DECLARE_TIMEOUT_S)
            found.append(lane_name(number))
    except (ChannelNotFoundEntity, ChannelAccessRefused):
        pass
    return tuple(found)


async def _former_levels(channels: _Channels) -> int | None:
    """Messages on the delay levels of an earlier release: all of them exist, or none."""
    waiting = 0
    try:
        channel = await channels.open()
        for level in range(delays.LEVELS):
            found = await channel.queue_declare(
                delays.former_level_name(level), passive=True, timeout=DECLARE_TIMEOUT_S
            )
            waiting += found.message_count or 0
    except (ChannelNotFoundEntity, ChannelAccessRefused):
        return waiting or None
    return waiting


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
        f"(RABBITMQ_QUEUE_TYPE sets the type of {INTAKE_QUEUE} and {DEAD_LETTER_QUEUE})"
    )
