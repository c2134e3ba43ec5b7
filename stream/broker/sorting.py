"""Sorting a backlog: a second consumer of the intake, whose messages move to the lanes many at a time.

A move through `handover.py` has a channel to itself until the broker has confirmed it, and the intake's own consumer
looks at few messages at once, as each may be large. So a backlog would be sorted at the speed of single confirms. Here
one channel takes up to `LOOKED_AT` messages, and another has their copies in flight together. It consumes only while
many messages are moved, and only small ones: a large one is put back for the intake's own consumer, and this one rests.

On any trouble (a lane that is gone or refuses, no confirm in time) the copies' channel is abandoned, and the originals
of what was not confirmed are put back. They are moved the other way, which tries again and mends. A copy that the
broker had taken all the same is a second one of its message; the ledger recognises it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from aio_pika import IncomingMessage
from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from pamqp import commands, frame

from stream.broker.express import OPEN_TIMEOUT_S, ExpressLane, abandon, is_closed
from stream.broker.handover import CONFIRM_TIMEOUT_S, AsItCame, is_blocked
from stream.broker.losses import is_being_cancelled
from stream.broker.republish import Copy

LOOKED_AT: Final = 600  # messages
GATHER_S: Final = 0.002  # of the frames for one write
FIRST: Final = {"x-priority": 1}  # the intake's own consumer gets what this one has no room for
LARGEST_BYTES: Final = 32 * 1024  # of a body that stays here; larger ones may still come until the broker stops
LOOK_EVERY_S: Final = 0.25
WORTH_IT: Final = 50  # moves between two looks
PATIENT_LOOKS: Final = 4  # with fewer moves, before it ends
MOST_PASSED_ON: Final = 100  # that still wait for a slot when it begins again
REST_S: Final = 60.0  # after a large body, or trouble with a lane
RETRY_S: Final = 5.0  # after trouble with the connection
LAST_CONFIRMS_S: Final = 2.0  # that a stop waits for

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sorted:
    """A message that moves.

    Attributes:
        copy: What is published.
        exchange: Where.
        lane: The routing key there.
        settled: Called when the message is in its lane, and off the intake.
    """

    copy: Copy
    exchange: str
    lane: str
    settled: Callable[[], None]


class Sorting:
    """The second consumer, while it is worth it.

    Args:
        connection: aiormq's connection, if there is one; another one after a reconnect.
        intake: `INTAKE_QUEUE`.
        moves: How many messages have been moved in all, in either way.
        sort: Says whether a message moves.
        pass_on: Takes a message that does not.
    """

    def __init__(
        self,
        connection: Callable[[], Any],
        *,
        intake: str,
        moves: Callable[[], int],
        sort: Callable[[AbstractIncomingMessage], Sorted | None],
        pass_on: Callable[[IncomingMessage], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._express = ExpressLane(GATHER_S)
        self._intake = intake
        self._moves = moves
        self._sort = sort
        self._pass_on = pass_on
        self._taking: Any = None  # the channel that consumes
        self._publishing: Any = None  # the channel of the copies: trouble there leaves what was passed on alone
        self._tag: str | None = None  # of the consumer, while it is wanted
        self._moves_before = 0
        self._calm_looks = 0
        self._passed_on = 0  # messages that wait for a slot
        self._rests_until = 0.0  # in the loop's time
        self._blocked_at = float("-inf")  # when the broker was last seen to read nothing
        self._unconfirmed: dict[asyncio.Future[Any], _Leaving] = {}  # in order
        self._giving_up: asyncio.Task[None] | None = None
        self._stopped = False

    async def watch(self) -> None:
        """Begin and end to consume as it is worth it. Never ends."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._look()
            except asyncio.CancelledError:
                if is_being_cancelled():
                    raise
                self._rest(RETRY_S)
            except Exception as error:  # noqa: BLE001 - aiormq raises nearly anything for a connection that ends
                log.warning("sorting_not_possible", error=f"{type(error).__name__}: {error}")
                self._rest(RETRY_S)

    async def stop(self) -> None:
        """Take nothing more; wait a moment for the confirms of what has left."""
        self._stopped = True
        await self.rest()

    async def rest(self) -> None:
        """The same, for `REST_S`."""
        self._rest(REST_S)
        self._end()
        if self._unconfirmed:
            await asyncio.wait(set(self._unconfirmed), timeout=LAST_CONFIRMS_S)
        await self._express.flush()

    async def _look(self) -> None:
        moves = self._moves()
        worth_it, self._moves_before = moves - self._moves_before >= WORTH_IT, moves
        self._calm_looks = 0 if worth_it else self._calm_looks + 1
        if await self._is_overdue():
            await self._give_up(self._publishing, f"no confirm within {CONFIRM_TIMEOUT_S:g} s")
        if self._consuming:
            if self._calm_looks >= PATIENT_LOOKS:
                self._end()
        elif worth_it and self._may_begin:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._begin()

    @property
    def _consuming(self) -> bool:
        return _is_open(self._taking) and self._tag in self._taking.consumers

    @property
    def _may_begin(self) -> bool:
        """A consumer that begins may take as many as ever, whatever the one before it still holds."""
        return not self._stopped and _now() >= self._rests_until and self._passed_on < MOST_PASSED_ON

    def _rest(self, seconds: float) -> None:
        self._rests_until = _now() + seconds

    async def _is_overdue(self) -> bool:
        """Whether the oldest confirm does not come. While the broker reads nothing, the time does not count."""
        oldest = next(iter(self._unconfirmed.values()), None)
        if oldest is None or _now() < max(oldest.since, self._blocked_at) + CONFIRM_TIMEOUT_S:
            return False
        if not _is_open(self._publishing) or not await is_blocked(self._publishing.connection):
            return True
        self._blocked_at = _now()
        return False

    async def _begin(self) -> None:
        if (connection := self._connection()) is None:
            return
        await connection.ready()  # a channel that a broker without memory does not open would be lost
        if not _is_open(self._taking):
            self._taking = await connection.channel()
            await self._taking.basic_qos(prefetch_count=LOOKED_AT)
        if not _is_open(self._publishing):
            self._publishing = channel = await connection.channel(publisher_confirms=True)
            # aiormq finds a returned publish by its message id, but two messages may have the same; and it logs bodies.
            channel._on_return_frame = partial(self._returned, channel)  # noqa: SLF001 - nothing public says so in time
        if self._stopped:
            return
        self._tag = tag = uuid.uuid4().hex  # known before the first message comes
        channel = self._taking
        consumer = partial(self._delivered, channel)
        await channel.basic_consume(self._intake, consumer, consumer_tag=tag, arguments=FIRST)
        for former in channel.consumers.keys() - {tag}:  # aiormq keeps one that was cancelled without an answer
            del channel.consumers[former]
        if self._stopped:
            self._end()

    def _end(self) -> None:
        """Take no more messages. Those that are on their way still come."""
        if self._tag is not None and _is_open(self._taking):
            cancel = commands.Basic.Cancel(consumer_tag=self._tag, nowait=True)
            self._express.write(self._taking, frame.marshal(cancel, self._taking.number))
        self._tag = None

    async def _delivered(self, channel: Any, message: DeliveredMessage) -> None:
        if self._stopped or is_closed(channel):
            return
        incoming = _taken(message)
        if len(incoming.body) > LARGEST_BYTES:
            self._end()  # first: or it would come here again
            self._rest(REST_S)
            self._put_back(incoming)
        elif not _is_open(self._publishing):
            self._end()
            self._put_back(incoming)
        elif found := self._sort(incoming):
            self._publish(incoming, found)
        else:
            self._passed_on += 1
            try:
                await self._pass_on(IncomingMessage(message))
            finally:
                self._passed_on -= 1

    def _put_back(self, incoming: AbstractIncomingMessage) -> None:
        channel: Any = incoming.channel
        if _is_open(channel):
            back = commands.Basic.Nack(incoming.delivery_tag or 0, requeue=True)
            self._express.write(channel, frame.marshal(back, channel.number))

    def _publish(self, incoming: AbstractIncomingMessage, found: Sorted) -> None:
        channel = self._publishing
        confirmation = self._express.send(
            channel,
            found.copy.body,
            AsItCame(found.copy),
            exchange=found.exchange,
            routing_key=found.lane,
            mandatory=True,
        )
        self._unconfirmed[confirmation] = _Leaving(incoming, _now())
        confirmation.add_done_callback(partial(self._confirmed, channel, incoming, found))

    def _confirmed(
        self, channel: Any, incoming: AbstractIncomingMessage, found: Sorted, answer: asyncio.Future[Any]
    ) -> None:
        if answer not in self._unconfirmed:  # given up: it is back on the intake
            return
        error = None if answer.cancelled() else answer.exception()
        if answer.cancelled() or error is not None or is_closed(channel):
            reason = f"{type(error).__name__}: {error}" if error else "the channel has ended"
            self._giving_up = asyncio.ensure_future(self._give_up(channel, reason))  # of many, the first gives all up
            return
        del self._unconfirmed[answer]
        if _is_open(incoming.channel):
            self._express.acknowledge(incoming)
            found.settled()

    async def _returned(self, channel: Any, returned: Any) -> None:
        await self._give_up(channel, "a lane is gone")  # now: the confirm that follows means nothing
        header = await channel._get_frame()  # noqa: SLF001 - or its reader would hold the content for an RPC's answer
        await channel._read_content(returned, header)  # noqa: SLF001

    async def _give_up(self, channel: Any, reason: str) -> None:
        """Abandon the copies that are not confirmed: their originals go back to the intake."""
        if channel is not self._publishing:
            return
        self._publishing = None
        self._end()
        leaving, self._unconfirmed = self._unconfirmed, {}
        connected = _is_open(self._taking)  # else the broker has put them back
        self._rest(REST_S if connected else RETRY_S)
        if connected:
            log.warning("sorting_abandoned", reason=reason, consequence="what was not confirmed is delivered again")
        for each in leaving.values():
            self._put_back(each.incoming)
        if not is_closed(channel):
            with suppress(TimeoutError):
                async with asyncio.timeout(OPEN_TIMEOUT_S):
                    await abandon(channel)


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A message whose copy is on its way, since a moment of the loop's time."""

    incoming: AbstractIncomingMessage
    since: float


@dataclass(slots=True)
class _Taken:
    """All that is read of a message that moves. aio-pika's `IncomingMessage` costs more than its copy."""

    body: bytes
    headers: Any
    routing_key: str | None
    redelivered: bool | None
    delivery_tag: int | None
    channel: Any


def _taken(message: DeliveredMessage) -> Any:
    headers: Any = message.header.properties.headers
    return _Taken(
        message.body, headers, message.routing_key, message.redelivered, message.delivery_tag, message.channel
    )


def _is_open(channel: Any) -> bool:
    return channel is not None and not is_closed(channel)


def _now() -> float:
    return asyncio.get_running_loop().time()
