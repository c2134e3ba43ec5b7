"""Sorting a backlog: a second consumer of the intake, whose messages move to the lanes many at a time.

A move through `handover.py` has a channel to itself until the broker has confirmed it, and the intake's own consumer
looks at few messages at once, as each may be large. So a backlog would be sorted at the speed of single confirms. Here
one channel takes up to `LOOKED_AT` messages and has their copies in flight together. It consumes only while many
messages are moved, and only small ones: a large one is put back for the intake's own consumer, and this one rests.

On any trouble (a lane that is gone or refuses, no confirm in time) the channel is abandoned: what was not acknowledged
is back on the intake, and is moved the other way, which tries again and mends. A copy that the broker had taken all the
same is a second one of its message; the ledger recognises it.
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
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from pamqp import commands, frame

from stream.broker.express import OPEN_TIMEOUT_S, ExpressLane, abandon, is_closed
from stream.broker.handover import CONFIRM_TIMEOUT_S, AsItCame, is_blocked
from stream.broker.republish import Copy
from stream.contract.queues import INTAKE_QUEUE

LOOKED_AT: Final = 300  # messages; measured: 100 moved 3,300 a second, 300 moved 3,700
FIRST: Final = {"x-priority": 1}  # the intake's own consumer gets what this one has no room for
LARGEST_BYTES: Final = 64 * 1024  # of a body: at most 20 MB are looked at
LOOK_EVERY_S: Final = 0.25
WORTH_IT: Final = 50  # moves between two looks
REST_S: Final = 60.0  # after a large body, or trouble
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
        express: Writes the frames.
        moves: How many messages have been moved in all, in either way.
        sort: Says whether a message moves.
        pass_on: Takes a message that does not.
    """

    def __init__(
        self,
        connection: Callable[[], Any],
        express: ExpressLane,
        *,
        moves: Callable[[], int],
        sort: Callable[[IncomingMessage], Sorted | None],
        pass_on: Callable[[IncomingMessage], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._express = express
        self._moves = moves
        self._sort = sort
        self._pass_on = pass_on
        self._channel: Any = None
        self._tag: str | None = None  # of the consumer, while it is wanted
        self._moves_before = 0
        self._rests_until = 0.0  # in the loop's time
        self._unconfirmed: dict[asyncio.Future[Any], float] = {}  # with their deadlines, in order
        self._giving_up: asyncio.Task[None] | None = None
        self._stopped = False

    async def watch(self) -> None:
        """Begin and end to consume as it is worth it. Never ends."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with suppress(AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError):
                await self._look()

    async def stop(self) -> None:
        """Take nothing more; wait a moment for the confirms of what has left."""
        self._stopped = True
        self._end()
        if self._unconfirmed:
            await asyncio.wait(set(self._unconfirmed), timeout=LAST_CONFIRMS_S)

    async def _look(self) -> None:
        moves = self._moves()
        worth_it, self._moves_before = moves - self._moves_before >= WORTH_IT, moves
        if await self._is_overdue():
            await self._give_up(self._channel, f"no confirm within {CONFIRM_TIMEOUT_S:g} s")
        if self._consuming and not worth_it:
            self._end()
        elif worth_it and not (self._consuming or self._stopped) and self._now() >= self._rests_until:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._begin()

    @property
    def _consuming(self) -> bool:
        return self._is_open and self._tag in self._channel.consumers

    @property
    def _is_open(self) -> bool:
        return self._channel is not None and not is_closed(self._channel)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _is_overdue(self) -> bool:
        deadline = next(iter(self._unconfirmed.values()), None)
        return deadline is not None and deadline < self._now() and not await is_blocked(self._channel.connection)

    async def _begin(self) -> None:
        if not self._is_open and (connection := self._connection()) is not None:
            await connection.ready()  # a channel that a broker without memory does not open would be lost
            self._channel = channel = await connection.channel(publisher_confirms=True)
            # aiormq finds a returned publish by its message id, but two messages may have the same; and it logs bodies.
            channel._on_return_frame = partial(self._returned, channel)  # noqa: SLF001 - nothing public says so in time
            await channel.basic_qos(prefetch_count=LOOKED_AT)
        if self._is_open:
            channel = self._channel
            self._tag = uuid.uuid4().hex  # known before the first message comes
            consumer = partial(self._delivered, channel)
            await channel.basic_consume(INTAKE_QUEUE, consumer, consumer_tag=self._tag, arguments=FIRST)

    def _end(self) -> None:
        """Take no more messages. Those that are on their way still come."""
        if self._is_open and self._tag is not None:
            cancel = commands.Basic.Cancel(consumer_tag=self._tag, nowait=True)
            self._express.write(self._channel, frame.marshal(cancel, self._channel.number))
        self._tag = None

    async def _delivered(self, channel: Any, message: DeliveredMessage) -> None:
        if self._stopped or is_closed(channel):
            return
        incoming = IncomingMessage(message)
        if len(incoming.body) > LARGEST_BYTES:
            self._put_back(channel, incoming)
        elif found := self._sort(incoming):
            self._publish(channel, incoming, found)
        else:
            await self._pass_on(incoming)

    def _put_back(self, channel: Any, incoming: IncomingMessage) -> None:
        self._end()  # first: or it would come here again
        self._rests_until = self._now() + REST_S
        back = commands.Basic.Nack(incoming.delivery_tag or 0, requeue=True)
        self._express.write(channel, frame.marshal(back, channel.number))

    def _publish(self, channel: Any, incoming: IncomingMessage, found: Sorted) -> None:
        confirmation = self._express.send(
            channel,
            found.copy.body,
            AsItCame(found.copy),
            exchange=found.exchange,
            routing_key=found.lane,
            mandatory=True,
        )
        self._unconfirmed[confirmation] = self._now() + CONFIRM_TIMEOUT_S
        confirmation.add_done_callback(partial(self._confirmed, channel, incoming, found))

    def _confirmed(self, channel: Any, incoming: IncomingMessage, found: Sorted, answer: asyncio.Future[Any]) -> None:
        del self._unconfirmed[answer]
        if answer.cancelled() or is_closed(channel):
            return
        if (error := answer.exception()) is not None:
            self._giving_up = asyncio.ensure_future(self._give_up(channel, f"{type(error).__name__}: {error}"))
            return
        self._express.acknowledge(incoming)
        found.settled()

    async def _returned(self, channel: Any, _returned: object) -> None:
        await self._give_up(channel, "a lane is gone")  # now: the confirm that follows means nothing

    async def _give_up(self, channel: Any, reason: str) -> None:
        if not is_closed(channel):
            self._rests_until = self._now() + REST_S
            log.warning("sorting_abandoned", reason=reason, consequence="moved and not acknowledged: delivered again")
            await abandon(channel)
