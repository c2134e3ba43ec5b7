"""The connection to RabbitMQ: connecting, declaring, consuming, and stopping in the right order.

FastStream drains before it cancels its consumer, so a stopping worker would still get messages, and drop them. And its
start fails if the broker is not there yet. Both are done here instead, around FastStream's own start and stop.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import structlog
from aio_pika.abc import AbstractChannel, AbstractRobustConnection
from aiormq.exceptions import AMQPError, ChannelAccessRefused, ChannelInvalidStateError
from faststream import AckPolicy
from faststream.rabbit import RabbitBroker, RabbitQueue

from stream.broker.addresses import Addresses
from stream.broker.consumers import Consumers
from stream.broker.declaration import Declared, TopologyMismatch, declare
from stream.broker.express import abandon
from stream.broker.handover import is_blocked
from stream.broker.home import LOOK_EVERY_S, answers
from stream.broker.losses import loss
from stream.broker.start import TEMPORARY, CannotStart, lasting, wait_for_broker
from stream.broker.topology import Topology

CONNECT_TIMEOUT_S: Final = 10.0  # with the first channel
# What messages pass on their way back from a wait, no publish of ours can miss: it is declared again this often.
DECLARE_EVERY_S: Final = 15.0
CLOSE_TIMEOUT_S: Final = 2.0  # without it, aiormq waits 12 s for a frozen broker's answer to the close

log = structlog.get_logger(__name__)


class BrokerConnection:
    """The connection to RabbitMQ and the consumer on it.

    Args:
        broker: The broker with its subscriber, not started.
        addresses: Where its connections lead.
        topology: What is declared.
        monotonic: Seconds.
    """

    def __init__(
        self,
        broker: RabbitBroker,
        addresses: Addresses,
        *,
        topology: Topology,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._consumers = Consumers(broker)
        self._addresses = addresses
        self._topology = topology
        self._monotonic = monotonic
        self.robust: AbstractRobustConnection | None = None
        self.lanes: tuple[RabbitQueue, ...] = ()  # once they are declared
        self.queue_arguments = topology.shared_arguments(frozenset())  # as declared, once they are
        self._idle_since: float | None = None
        self._declaring: asyncio.Task[None] | None = None
        self._declared: Declared | None = None  # what was found, once everything is declared
        self._warned_of: tuple[object, ...] = ()
        self._answers = True  # a node without a majority keeps its connections, but answers no declaration
        self._leaving: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def consuming(self) -> bool:
        """Whether messages arrive: connected to a node that answers, subscribed, and not stopping."""
        return self._subscribed and self._answers

    @property
    def _subscribed(self) -> bool:
        return self._connected and not self._stopping and self._consumers.known

    @property
    def _connected(self) -> bool:
        return self.robust is not None and self.robust.connected.is_set()

    @property
    def address(self) -> str:
        """The host and port that it is connected to, or has tried last."""
        return str(self._addresses)

    @property
    def underlay(self) -> Any:
        """The connection of aiormq, if there is one."""
        transport = self.robust.transport if self.robust is not None else None
        return transport.connection if transport is not None else None

    def stuck_s(self) -> float:
        """For how long there has been a connection but no consumer on it, in seconds, as far as the calls have seen.

        A broker that is away is not the worker's fault, and no reason to restart the worker. A consumer that does not
        come back although the connection did is a reason.
        """
        if self._subscribed or self._stopping or not self._connected:
            self._idle_since = None
            return 0.0
        now = self._monotonic()
        self._idle_since = now if self._idle_since is None else self._idle_since
        return now - self._idle_since

    async def open(self) -> AbstractRobustConnection:
        """Connect, waiting for a broker that is not there yet, and declare the topology.

        Raises:
            CannotStart: Wrong credentials, no such vhost, no trust in its certificate, or a topology that does not fit.
        """
        if any(subscriber.ack_policy is not AckPolicy.MANUAL for subscriber in self._consumers.subscribers):
            raise CannotStart(
                "a subscriber's ack_policy is not MANUAL: FastStream would acknowledge messages before they are settled"
            )
        attempt = 0
        while self.robust is None:
            attempt += 1
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    self.robust = await self._broker.connect()
            except TEMPORARY as error:
                if cannot_start := lasting(error, self._addresses.vhost):
                    raise cannot_start from None
                await wait_for_broker(attempt, error, self.address)
        self.robust.close_callbacks.add(self._lost)
        self.robust.reconnect_callbacks.add(self._reconnected)
        await self._declare_patiently()
        self._addresses.home = self._addresses.current
        return self.robust

    async def _declare_patiently(self) -> None:
        """Declare the topology, again and again while the broker cannot take it yet."""
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._declare()
            except TEMPORARY as error:
                if isinstance(error, TimeoutError):
                    await self._unanswered(attempt)
                await wait_for_broker(attempt, error, self.address)
            else:
                self._answers = True
                return

    async def _unanswered(self, attempt: int) -> None:
        """Leave a node that has not answered twice, if there are others: it may be cut off from them.

        A broker that is short of memory or disk answers nothing either, but the others are no better then.
        """
        if self._answers:
            log.warning(
                "rabbitmq_answers_nothing",
                address=self.address,
                consequence="nothing is consumed; the node may be cut off from the others",
            )
        self._answers = False
        if attempt > 1 and len(self._addresses) > 1 and not await is_blocked(self.underlay):
            self._leave(self.underlay, "left, because it answers no declaration: is it cut off from the other nodes?")

    def _leave(self, underlay: Any, reason: str) -> None:
        """Close aiormq's connection, so that aio-pika connects to another address. The loss cancels what declares."""
        self._leaving = asyncio.create_task(underlay.close(ConnectionError(reason)))

    def _lost(self, _connection: object, error: BaseException | None) -> None:
        self._end_declaring()
        if not self._stopping:
            log.warning("rabbitmq_lost", address=self.address, error=loss(error))

    async def _reconnected(self, _connection: object) -> None:
        """The broker may have come back empty."""
        log.warning("rabbitmq_back", address=self.address)
        self._declare_again()

    def mend(self) -> None:
        """Declare the topology again: a publish found no queue or no exchange. Once for all that find it meanwhile."""
        if not (self._stopping or self._is_declaring()):
            log.warning("topology_incomplete", consequence="a part of it was deleted; it is declared again")
            self._declare_again()

    async def watch_topology(self) -> None:
        """Declare the topology again and again, for ever: somebody may delete a part of it that no publish misses."""
        while True:
            await asyncio.sleep(DECLARE_EVERY_S)
            if self.consuming and not self._is_declaring():
                self._declare_again()

    def _declare_again(self) -> None:
        """Declare the topology until it is there, or the connection is lost.

        Not awaited: aio-pika waits for its callbacks before it watches the connection again.
        """
        self._end_declaring()
        self._declaring = asyncio.create_task(self._redeclare())

    def _is_declaring(self) -> bool:
        return self._declaring is not None and not self._declaring.done()

    def _end_declaring(self) -> None:
        if self._declaring is not None:
            self._declaring.cancel()

    async def _redeclare(self) -> None:
        try:
            await self._declare_patiently()
        except CannotStart as error:
            log.error("topology_not_declared", error=str(error))

    async def watch_consumers(self) -> None:
        """Once subscribed: close a channel whose consumer the broker cancels, so that aio-pika opens another.

        aio-pika would subscribe again on the same channel, with the same tag. RabbitMQ 4.3 cancels a consumer that has
        held a message for too long, but keeps its tag: it treats that subscription as an error of the whole connection.
        """
        for channel in self._consumers.channels:
            channel.reopen_callbacks.add(self._watch)
            await self._watch(channel)

    async def _watch(self, channel: AbstractChannel, *_: object) -> None:
        underlay: Any = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(partial(self._cancelled, underlay))

    async def _cancelled(self, underlay: Any, _cancel: object) -> None:
        if not self._stopping:
            log.warning("consumer_cancelled_by_rabbitmq")
            # The queue may be deleted. aio-pika declares it again, but not its binding to the delay levels.
            self._declare_again()
            await abandon(underlay)

    async def watch_home(self, finish: Callable[[], Awaitable[None]]) -> None:
        """Go home whenever the worker is away and home answers. Never ends.

        Args:
            finish: Ends what is in flight; nothing more arrives then.
        """
        while True:
            await asyncio.sleep(random.uniform(*LOOK_EVERY_S))  # noqa: S311 - no secret
            if self._may_go_home and await answers(self._addresses.home, self._topology, self._declared):
                await self._go_home(finish)

    @property
    def _may_go_home(self) -> bool:
        return self.consuming and self._addresses.away

    async def _go_home(self, finish: Callable[[], Awaitable[None]]) -> None:
        if not self._may_go_home:  # the look at home has taken its time
            return
        left = self.underlay
        await self._consumers.pause()
        await finish()
        if not self._stopping:
            self._addresses.try_home_next()
            self._leave(left, "left for the address at which it began, which answers again")

    async def stop_deliveries(self) -> None:
        """Cancel the consumers, so that the broker gives new messages to another replica."""
        self._stopping = True
        self._end_declaring()
        await self._consumers.cancel()

    async def close(self) -> None:
        """Close the connection after everything has been written, so that FastStream's stop finds nothing to close."""
        if self.robust is not None:
            with suppress(AMQPError, ChannelInvalidStateError, OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self.robust.close()

    async def _declare(self) -> None:
        if self.robust is None:
            return
        try:
            declared = await declare(self.robust, self._topology, known=self._declared)
        except TopologyMismatch as error:
            raise CannotStart(str(error)) from None
        except ChannelAccessRefused as error:
            raise CannotStart(
                f"RabbitMQ does not let the user of RABBITMQ_URL declare the topology: grant the right ({error})"
            ) from None
        self._declared = declared
        self._warn_of(declared)
        self.queue_arguments = self._topology.shared_arguments(declared.unlimited)
        as_declared = partial(self._topology.subscribed, unlimited=declared.unlimited)
        self.lanes = tuple(map(as_declared, declared.lanes))
        for subscriber in self._consumers.subscribers:  # FastStream declares their queues once more
            subscriber.queue = as_declared(subscriber.queue.name)

    def _warn_of(self, declared: Declared) -> None:
        """Warn once, and again when something else is found."""
        found = (declared.limited, declared.former_levels is None)
        if found == self._warned_of:
            return
        self._warned_of = found
        if declared.limited:
            log.warning(
                "delivery_limit",
                queues=list(declared.limited),
                consequence="RabbitMQ drops a message that came back 20 times, also a dead letter looked at 20 times",
                fix="set the policy of docs/upgrade.md (Delivery limit)",
            )
        if declared.former_levels is not None:
            log.warning(
                "former_delay_levels",
                messages=declared.former_levels,
                consequence="they are delivered when their wait ends; a crash of RabbitMQ may lose some of them",
                fix="once every replica is of this release, delete the queues whatsapp-delay-00 to -13 when empty",
            )
