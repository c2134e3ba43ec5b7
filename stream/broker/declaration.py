"""Declaring the topology: idempotently, all of it, before anything consumes.

Declared on a channel of its own, over the connection that the application already has, so that a mismatch is found
with its reason and costs no other channel. Declared again after a reconnect: a broker may come back empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from stream.broker.losses import tells_a_loss
from stream.broker.mismatch import explain_mismatch
from stream.broker.topology import DELIVERY_LIMIT, NO_DELIVERY_LIMIT, Queue, Topology, exchange_names, levels
from stream.contract import delays
from stream.contract.lanes import MOST_LANES, lane_name, lane_names
from stream.contract.queues import DEAD_LETTER_EXCHANGE, INTAKE_EXCHANGE

DECLARE_TIMEOUT_S: Final = 10.0
FIRST_MAJOR_WITH_LIMIT: Final = 4  # of a delivery limit


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


def major_version(server_properties: Mapping[str, Any] | None) -> int:
    """RabbitMQ's, from what it says of itself; 0 if it does not."""
    major = str((server_properties or {}).get("version", "")).split(".", maxsplit=1)[0]
    return int(major) if major.isdecimal() else 0


async def declare(connection: AbstractConnection, topology: Topology, *, known: Declared | None = None) -> Declared:
    """Declare the whole topology.

    Args:
        connection: An open one.
        topology: What to declare.
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
            return await _declare_all(channels, topology, known)
        except ChannelPreconditionFailed as error:
            raise TopologyMismatch(explain_mismatch(str(error))) from None
        except (Exception, asyncio.CancelledError) as error:
            if not tells_a_loss(error):
                raise
            raise ConnectionError("the connection to RabbitMQ was lost") from None


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


async def _declare_all(channels: _Channels, topology: Topology, known: Declared | None) -> Declared:
    lanes = known.lanes if known else await _lanes(channels, topology)
    channel = await channels.open()
    for name in exchange_names():
        await channel.exchange_declare(name, exchange_type="topic", durable=True, timeout=DECLARE_TIMEOUT_S)
    given_back, unlimited = topology.given_back(lanes), set[str]()
    can_be_limited = {queue.name for queue in given_back if queue.kind == "quorum" and channels.knows_no_limit}
    for queue in given_back:
        if known and queue.name in known.limited and await _exists(channels, queue):
            continue
        if queue.name in can_be_limited and await _declared_without_limit(channels, queue):
            unlimited.add(queue.name)
        else:
            await _declare_queue(await channels.open(), queue)
    channel = await channels.open()
    for queue in levels():
        await _declare_queue(channel, queue)
    await _bind_all(channel, topology, [*given_back, *levels()])
    limited = tuple(sorted(can_be_limited - unlimited))
    former_levels = known.former_levels if known else await _former_levels(channels)
    return Declared(frozenset(unlimited), limited, former_levels, lanes)


async def _declare_queue(channel: AbstractChannel, queue: Queue, **more: Any) -> None:
    arguments = {**queue.declared_with, **more}
    await channel.queue_declare(queue.name, durable=True, arguments=arguments, timeout=DECLARE_TIMEOUT_S)


async def _exists(channels: _Channels, queue: Queue) -> bool:
    try:
        await (await channels.open()).queue_declare(queue.name, passive=True, timeout=DECLARE_TIMEOUT_S)
    except ChannelNotFoundEntity:
        return False
    return True


async def _declared_without_limit(channels: _Channels, queue: Queue) -> bool:
    """Declare a queue without a delivery limit; false if it exists from before, declared in another way."""
    try:
        await _declare_queue(await channels.open(), queue, **NO_DELIVERY_LIMIT)
    except ChannelPreconditionFailed as error:
        if f"'{DELIVERY_LIMIT}'" not in str(error):
            raise
        return False
    return True


async def _bind_all(channel: AbstractChannel, topology: Topology, queues: list[Queue]) -> None:
    for queue in queues:
        await channel.queue_bind(queue.name, queue.exchange, queue.pattern, timeout=DECLARE_TIMEOUT_S)
    for level in range(delays.LEVELS):
        await channel.exchange_bind(
            delays.next_exchange(level), delays.level_name(level), delays.pass_pattern(level), timeout=DECLARE_TIMEOUT_S
        )
    intake = topology.intake_name
    await channel.queue_bind(
        intake, delays.DELIVERY_EXCHANGE, delays.delivery_pattern(intake), timeout=DECLARE_TIMEOUT_S
    )
    for name in (INTAKE_EXCHANGE, DEAD_LETTER_EXCHANGE):
        # Removing a binding that never was changes nothing, but RabbitMQ asks for the right to publish: without it,
        # events and dead letters would fail later, one by one.
        await channel.exchange_unbind(
            destination=name, source=delays.DELIVERY_EXCHANGE, routing_key="never-bound", timeout=DECLARE_TIMEOUT_S
        )


async def _lanes(channels: _Channels, topology: Topology) -> tuple[str, ...]:
    """The lanes, and those that exist beyond `LANES`: they were declared together, so the first missing is the end."""
    found = list(lane_names(topology.lanes, topology.intake_name))
    try:
        channel = await channels.open()
        for number in range(topology.lanes, MOST_LANES):
            name = lane_name(number, topology.intake_name)
            await channel.queue_declare(name, passive=True, timeout=DECLARE_TIMEOUT_S)
            found.append(name)
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
