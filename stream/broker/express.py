"""The express lane: publishes events and acknowledges messages; all that are waiting are sent in one write.

Every delivered message has a sent event and an acknowledgement. aiormq's own calls for both would take 1.1 to 1.5 times
the CPU of a message (`bench/README.md`); the lane also bounds confirms without a timer each, and writes nothing on a
channel that is closed. Here pamqp encodes them and aiormq sends and confirms them, on a channel that nothing else
publishes on: its `write_queue`, `ChannelFrame`, `delivery_tag` and `confirmations` are what its own `basic_publish`
uses. Waits and dead letters, which are rare and must reach a queue, go through `handover.py`.

An event is sent on the connection that its message came on, before the message's acknowledgement: a broker that has the
acknowledgement has the event too. If that connection is lost, the broker delivers the message again, and the event is
published then. So nothing here waits for a reconnect.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import ChannelFrame
from aiormq.exceptions import ChannelInvalidStateError
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

CONFIRM_TIMEOUT_S: Final = 5.0  # a healthy broker confirms in milliseconds, a frozen one may take minutes
SWEEP_S: Final = 1.0  # between checks for missing confirmations: cheaper than a timer for each
OPEN_TIMEOUT_S: Final = 5.0  # between checks whether the connection is still open, while a channel does not open
FLUSH_S: Final = 2.0  # a broker that reads nothing must not delay a stop

Properties = commands.Basic.Properties


class Unanswered(Exception):  # noqa: N818 - a state of the broker
    """What was published has been sent to the broker, which has not confirmed it."""


class ExpressLane:
    """Publishes and acknowledges. Frames that are added during a write are sent in the next one.

    Args:
        gather_s: For how long frames are gathered before a write, in seconds. A write costs as much as half a move.
    """

    def __init__(self, gather_s: float = 0.0) -> None:
        self._gather_s = gather_s
        self._channel: Any = None
        self._opening = asyncio.Lock()
        self._writer: _Writer | None = None
        self._unconfirmed: deque[tuple[float, asyncio.Future[Any]]] = deque()  # with deadlines, in the loop's time

    async def publish(
        self, incoming: AbstractIncomingMessage, body: bytes, properties: Properties, *, exchange: str, routing_key: str
    ) -> None:
        """Publish an event about `incoming`, and wait for the broker to confirm it. No queue need be bound for it.

        Raises:
            ChannelInvalidStateError: The connection that `incoming` came on is lost.
            AMQPError: The broker refused it, or the channel was closed before it could confirm.
            Unanswered: No confirm within `CONFIRM_TIMEOUT_S`, noticed up to `SWEEP_S` later. It may still come.
        """
        channel = await self._channel_beside(incoming)
        confirmation = self.send(channel, body, properties, exchange=exchange, routing_key=routing_key)
        self._watch(confirmation)
        await confirmation

    def send(
        self,
        channel: Any,
        body: bytes,
        properties: Properties,
        *,
        exchange: str,
        routing_key: str,
        mandatory: bool = False,
    ) -> asyncio.Future[Any]:
        """Publish on a channel on which nothing else publishes; others may be in flight on it.

        Returns:
            Done when the broker confirms; it fails when the broker refuses, and when the channel closes.
        """
        method = _publish_frame(exchange, routing_key, channel.number, mandatory)
        frames = b"".join((method, *_content_frames(body, properties, channel)))
        confirmation: asyncio.Future[Any] = channel.create_future()
        channel.delivery_tag += 1  # the broker counts publishes too: await nothing between this line and the write
        channel.confirmations[channel.delivery_tag] = confirmation
        self.write(channel, frames)
        return confirmation

    def acknowledge(self, incoming: AbstractIncomingMessage) -> None:
        """Take a message off its queue. The broker does not answer; if the connection is lost, it delivers it again.

        Raises:
            ChannelInvalidStateError: The channel that it came on is closed.
        """
        channel = open_channel_of(incoming)
        self.write(channel, frame.marshal(commands.Basic.Ack(incoming.delivery_tag or 0), channel.number))

    async def flush(self) -> None:
        """Wait until everything has been written or its connection is lost, for at most `FLUSH_S` seconds."""
        if self._writer is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._writer.idle.wait(), FLUSH_S)

    async def _channel_beside(self, incoming: AbstractIncomingMessage) -> Any:
        """The channel for publishing on the connection that a message came on."""
        connection = open_channel_of(incoming).connection
        if self._is_on(connection):
            return self._channel
        async with self._opening:
            if not self._is_on(connection):
                self._channel = await open_channel_beside(incoming)
        if is_closed(self._channel):
            raise ChannelInvalidStateError("the channel for events is closed")
        return self._channel

    def _is_on(self, connection: Any) -> bool:
        return self._channel is not None and self._channel.connection is connection and not is_closed(self._channel)

    def _watch(self, confirmation: asyncio.Future[Any]) -> None:
        loop = confirmation.get_loop()
        if not self._unconfirmed:
            loop.call_later(SWEEP_S, self._sweep, loop)
        self._unconfirmed.append((loop.time() + CONFIRM_TIMEOUT_S, confirmation))

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fail the confirmations that have waited too long, the oldest first."""
        waiting, now = self._unconfirmed, loop.time()
        while waiting and (waiting[0][1].done() or waiting[0][0] <= now):
            _, confirmation = waiting.popleft()
            if not confirmation.done():
                confirmation.set_exception(Unanswered(f"no confirm within {CONFIRM_TIMEOUT_S:g} s"))
        if waiting:
            loop.call_later(SWEEP_S, self._sweep, loop)

    def write(self, channel: Any, frames: bytes) -> None:
        """Write whole frames of one channel, after all that were written before."""
        if self._writer is None or self._writer.connection is not channel.connection:
            self._writer = _Writer(channel.connection, self._gather_s)
        self._writer.add(channel, frames)


def open_channel_of(incoming: AbstractIncomingMessage) -> Any:
    """The channel that a message came on: it can be settled on no other.

    Raises:
        ChannelInvalidStateError: It is closed: the broker delivers the message again.
    """
    channel = incoming.channel
    if is_closed(channel):
        raise ChannelInvalidStateError("the message came on a channel that is closed")
    return channel


async def open_channel_beside(incoming: AbstractIncomingMessage) -> Any:
    """Open a channel for publishing on the connection that a message came on; wait as long as the broker needs for it.

    Each attempt occupies a channel until the broker answers. A broker that is short of memory or disk may not answer
    for hours, so it is only asked when it reads again.

    Raises:
        ChannelInvalidStateError: The connection is lost: the broker delivers the message again.
    """
    while True:
        connection = open_channel_of(incoming).connection
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await connection.ready()
                return await connection.channel(publisher_confirms=True, on_return_raises=True)
        except TimeoutError:
            continue  # the broker is frozen or short of memory; nothing is published yet, so waiting loses nothing
        except RuntimeError as error:
            raise ChannelInvalidStateError(str(error)) from None


async def abandon(channel: Any) -> None:
    """Close a channel of aiormq's, and write nothing more on it; aio-pika opens another in its place.

    aiormq's own `close` still sends acknowledgements until the broker has answered. If the broker reads one after the
    close, it treats that as an error of the whole connection.
    """
    channel._Channel__close_event.set()  # noqa: SLF001 - see `is_closed`
    close = commands.Channel.Close(reply_code=200, class_id=0, method_id=0)
    await channel.write_queue.put(ChannelFrame.marshall(channel_number=channel.number, frames=[close]))


class _Writer:
    """Writes to one connection, one write at a time; frames that are added during a write form the next one.

    Args:
        connection: aiormq's; a reconnect makes a new one, with new numbers for channels and messages.
        gather_s: For how long frames are gathered before a write, in seconds.
    """

    def __init__(self, connection: Any, gather_s: float) -> None:
        self.connection = connection
        self._gather_s = gather_s
        self.idle = asyncio.Event()
        self.idle.set()
        self._waiting: list[tuple[Any, bytes]] = []

    def add(self, channel: Any, frames: bytes) -> None:
        """Add whole frames of one channel."""
        self._waiting.append((channel, frames))
        if self.idle.is_set():
            self.idle.clear()
            self._gather()

    def _gather(self, _written: object = None) -> None:
        self.connection.loop.call_later(self._gather_s, self._write)

    def _write(self) -> None:
        alive = [frames for channel, frames in self._waiting if not is_closed(channel)]
        self._waiting.clear()
        if not alive or self.connection.is_closed:
            self.idle.set()
            return
        written = self.connection.create_future()  # fails when the connection closes
        written.add_done_callback(self._gather)
        self.connection.write_queue.put_nowait(ChannelFrame(b"".join(alive), should_close=False, drain_future=written))


@lru_cache(maxsize=4096)  # one a tenant
def _publish_frame(exchange: str, routing_key: str, channel_number: int, mandatory: bool) -> bytes:  # noqa: FBT001 - for the cache
    publish = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory)
    return frame.marshal(publish, channel_number)


def is_closed(channel: Any) -> bool:
    """Whether the channel is closed: the broker would close the whole connection over a frame on it.

    aiormq answers the broker's close at once, but its `is_closed` changes some rounds of the event loop later. Nothing
    public shows that; a unit test checks that aiormq still has the event.
    """
    return bool(channel.is_closed or channel._Channel__close_event.is_set())  # noqa: SLF001


def _content_frames(body: bytes, properties: Properties, channel: Any) -> list[bytes]:
    size, number = channel.max_content_size, channel.number
    header = frame.marshal(ContentHeader(body_size=len(body), properties=properties), number)
    # A broker whose frame_max is 0 sets no limit.
    parts = [body[start : start + size] for start in range(0, len(body), size)] if size > 0 else [body]
    return [header, *(frame.marshal(ContentBody(part), number) for part in parts)]
