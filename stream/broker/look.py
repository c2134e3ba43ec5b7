"""Looking at a queue's messages: they are read without being taken off, and lie as before when the look ends.

A consumer takes every message and acknowledges none. RabbitMQ keeps each in its place, and has it there again when the
look gives it back or its connection ends, however it ends. Seen on classic and quorum queues of RabbitMQ 3.10 and 4.3,
with priorities and without. For a quorum queue two things must be so, or what comes back would lie behind the rest:

- The look takes the whole queue. RabbitMQ assigns a consumer all of it at once, but no more than 65,535 messages (2,000
  without a prefetch). A longer queue is taken by one consumer after the other: one that is cancelled keeps what it
  holds. Only there, and where the first message is looked at alone (see `return_limit`), a look that is killed before
  its last consumer leaves the first messages behind the others.
  A classic queue puts what comes back into its old place, so a look may take only the first of its messages.
- Nobody else reads meanwhile. The consumers are exclusive: a second look is told so, instead of seeing a part.

Messages are given back with a `nack`, which RabbitMQ 4.0 to 4.2 counts against a delivery limit: see `return_limit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelAccessRefused, ChannelInvalidStateError
from pamqp.commands import Queue

from stream.broker import return_limit
from stream.broker.return_limit import Limited

CHUNK: Final = 60_000  # messages of one consumer
ANSWER_S: Final = 30.0  # for each word of RabbitMQ's
QUIET_S: Final = 1.0  # nothing came for so long: ask whether there is anything left
GIVEN_BACK_S: Final = 10.0  # for what was held to lie on the queue again
POLL_S: Final = 0.02
BATCH: Final = 2_000  # given back at once: a quorum queue of 3.10 takes minutes over tens of thousands
FREE_CHECKS: Final = 3  # a second apart
_IN_USE: Final = "in exclusive use"
_LOST: Final = (AMQPError, ChannelInvalidStateError, OSError)

Visit = Callable[[DeliveredMessage], None]


class QueueInUse(Exception):  # noqa: N818 - a state of the queue
    """Another consumer reads the queue."""


class Look:
    """Shows each message of a queue to a visitor; use `look_at`.

    Attributes:
        seen: Messages that were shown.
        goal: Messages that lay on the queue when it began, and that it may take.

    Args:
        channel: Holds what is shown, until it is taken off or the look ends.
        queue: The queue's name.
        visit: Called with each message; what it does not keep is not kept.
        connection: The channel's, where what is shown comes back: it is asked for a limit of that. `None`: it does not.
        most: Messages that are taken of a classic queue, up to `CHUNK`; `None`: all, of any queue.
    """

    def __init__(
        self,
        channel: AbstractChannel,
        queue: str,
        visit: Visit,
        connection: AbstractConnection | None,
        *,
        most: int | None = None,
    ) -> None:
        self.seen = 0
        self.goal = 0
        self._channel = channel
        self._queue = queue
        self._visit = visit
        self._connection = connection
        self._first: DeliveredMessage | None = None
        self._most = most
        self._consumers = 0
        self._held = 0  # by the last consumer
        self._taken_off: set[int] = set()
        self._news = asyncio.Event()
        self._error: Exception | None = None

    async def begin(self) -> None:
        """Take all that lies on the queue, and what comes until the look ends.

        Raises:
            QueueInUse: Somebody else reads the queue.
            NearLimit: RabbitMQ would soon drop what is given back.
        """
        lying = await self._when_free()
        limited = Limited.NO
        if lying and self._connection:
            limited = await return_limit.may_apply(self._connection, self._queue)
        if limited is Limited.NO:
            await self._consume()
        else:
            await self._consume(1)
            if await self._wait_until_shown(1) and self._first:
                return_limit.check(self._first, limited)
            await self._consume_more()
        self.goal = lying if self._most is None else min(lying, self._most)
        own = 1 + self._consumers  # a quorum queue counts one that is cancelled as long as it holds something
        if ((await self._state()).consumer_count or 0) > own:  # another one began in the same moment
            raise QueueInUse

    async def catch_up(self, goal: int) -> bool:
        """Wait until `goal` messages have been shown; false if there are no more.

        Raises:
            ConnectionError: The channel was lost: all that was not taken off is back on the queue.
            Exception: What the visitor raised.
        """
        there = await self._wait_until_shown(goal)
        self.check()
        return there

    async def make_room(self) -> None:
        """Let more messages come, if what is held would keep them out.

        Raises:
            Exception: What the visitor raised.
        """
        await self._make_room()
        self.check()

    def check(self) -> None:
        """Raise what the visitor raised; it is shown nothing more since then."""
        if self._error is not None:
            raise self._error

    async def take_off(self, tag: int) -> None:
        """Take a message off the queue. RabbitMQ does not confirm it: if that is lost, the next look finds it."""
        await self._channel.basic_ack(tag)
        self._taken_off.add(tag)

    async def end(self) -> None:
        """Give back what is held, in its order, and wait until it lies there."""
        with suppress(*_LOST, TimeoutError):
            if self.goal > CHUNK:
                await self._wait_until_shown(self.goal)  # what is not taken would come to lie before what is given back
            await self._channel.basic_cancel(self._tag, timeout=ANSWER_S)
            held = [tag for tag in range(1, self.seen + 1) if tag not in self._taken_off]
            if not held:
                return
            # A quorum queue counts a consumer that is cancelled as long as it holds something. A classic one does not:
            # between two batches another look could begin, and would be shown a part.
            size = BATCH if (await self._state()).consumer_count else len(held)
            for start in range(0, len(held), size):
                batch = held[start : start + size]
                await self._channel.basic_nack(batch[-1], multiple=True, requeue=True)
                await self._wait_for(start + len(batch))

    async def _wait_until_shown(self, goal: int) -> bool:
        while self.seen < goal:
            if self._channel.is_closed:
                raise ConnectionError("RabbitMQ has closed the channel")
            await self._make_room()
            self._news.clear()
            try:
                async with asyncio.timeout(QUIET_S):  # wait_for of Python 3.11 may lose a cancellation
                    await self._news.wait()
            except TimeoutError:
                if await self._ready() == 0:
                    return False
        return True

    async def _make_room(self) -> None:
        if self._held >= CHUNK:
            await self._consume_more()

    async def _wait_for(self, messages: int) -> None:
        async with asyncio.timeout(GIVEN_BACK_S):
            while await self._ready() < messages:  # noqa: ASYNC110 - RabbitMQ does not tell
                await asyncio.sleep(POLL_S)

    @property
    def _tag(self) -> str:
        return f"look-{self._consumers:04d}"

    async def _ready(self) -> int:
        return (await self._state()).message_count or 0

    async def _state(self) -> Queue.DeclareOk:
        return await self._channel.queue_declare(self._queue, passive=True, timeout=ANSWER_S)

    async def _when_free(self) -> int:
        """Messages on the queue, once nobody else reads it: RabbitMQ 3.10 allows a quorum queue a second consumer.

        Raises:
            QueueInUse: Somebody does; one that has just ended may still be counted for a moment.
        """
        for _ in range(FREE_CHECKS):
            state = await self._state()
            if not state.consumer_count:
                return state.message_count or 0
            await asyncio.sleep(QUIET_S)
        raise QueueInUse

    async def _consume(self, most: int | None = None) -> None:
        self._held = 0
        left = CHUNK if self._most is None else max(1, self._most - self.seen)  # the first one is held by then
        await self._channel.basic_qos(prefetch_count=most or left, timeout=ANSWER_S)
        try:
            await self._channel.basic_consume(
                self._queue, self._take, exclusive=True, consumer_tag=self._tag, timeout=ANSWER_S
            )
        except ChannelAccessRefused as error:
            if _IN_USE in str(error):
                raise QueueInUse from None
            raise

    async def _consume_more(self) -> None:
        await self._channel.basic_cancel(self._tag, timeout=ANSWER_S)
        self._consumers += 1
        await self._consume()

    async def _take(self, message: DeliveredMessage) -> None:
        self.seen += 1
        self._held += 1
        self._first = self._first or message
        try:
            if self._error is None:
                self._visit(message)
        except Exception as error:  # noqa: BLE001 - aiormq would write it to its log, and nobody would know
            self._error = error
        self._news.set()


@asynccontextmanager
async def look_at(
    connection: AbstractConnection, queue: str, visit: Visit, *, gives_back: bool = True, most: int | None = None
) -> AsyncIterator[Look]:
    """A look at a queue, or at the first messages of a classic one, on a channel of its own.

    Args:
        connection: An open one.
        queue: The queue's name.
        visit: Called with each message.
        gives_back: What is shown comes back; false for a look that takes all of it off.
        most: Messages that are taken of a classic queue, up to `CHUNK`; `None`: all, of any queue.

    Raises:
        QueueInUse: Somebody else reads the queue.
        NearLimit: RabbitMQ would soon drop what is given back.
        AMQPError: The queue is not there, or the user may not read it.
        Exception: What the visitor raised.
    """
    channel = await connection.channel()
    look = Look(channel, queue, visit, connection if gives_back else None, most=most)
    try:
        await look.begin()
        yield look
        look.check()
    finally:
        await look.end()
        if not channel.is_closed:
            with suppress(*_LOST):
                await channel.close()
