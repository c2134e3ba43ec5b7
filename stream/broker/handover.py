"""Handing a message over: a copy is published on the connection that the original came on, confirmed and mandatory.

While that connection is open, this worker settles the original. Once it is lost, the broker has put the original back,
and a copy published on another connection would be a second message. So no publish waits for a reconnect, as
FastStream's publisher does.

aiormq finds the publish of a returned message by its message id, but two messages may carry the same id. Then the
confirmed one would count as returned, and the returned one as confirmed: it would be lost. So each channel has one
publish in flight at a time.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import AbstractChannel
from aiormq.exceptions import PublishError
from pamqp.commands import Basic

from stream.broker import properties as wire
from stream.broker.express import abandon, open_channel_beside, open_channel_of
from stream.broker.republish import Copy

CONFIRM_TIMEOUT_S: Final = 30.0  # for a broker that reads; while it has an alarm, the time does not count
MOST_CHANNELS: Final = 64  # RabbitMQ allows 2,047 per connection; further publishes wait for a free one


class Handover:
    """Publishes copies that must reach a queue."""

    def __init__(self) -> None:
        self._idle: list[AbstractChannel] = []
        self._places = asyncio.Semaphore(MOST_CHANNELS)
        self._closing: set[asyncio.Task[None]] = set()

    async def publish(self, incoming: AbstractIncomingMessage, copy: Copy, *, exchange: str, routing_key: str) -> None:
        """Publish a copy of `incoming` and wait until a queue has it.

        Raises:
            ChannelInvalidStateError: The connection that the original came on is lost.
            PublishError: No queue is bound for it.
            DeliveryError: The queue refused it.
            AMQPError: The exchange is not there, or the connection was lost.
            TimeoutError: No confirm within `CONFIRM_TIMEOUT_S`: a queue may have it or not.
        """
        async with self._places:
            channel = self._idle_on(open_channel_of(incoming).connection) or await open_channel_beside(incoming)
            try:
                open_channel_of(incoming)  # the broker may have closed it while another one was opened
                await publish_copy(channel, copy, exchange, routing_key)
            except PublishError:
                self._idle.append(channel)
                raise
            except BaseException:
                # A late answer on it must not count as the next publish's answer. And RabbitMQ 3.10 refuses everything
                # on a channel that met a quorum queue without a leader.
                self._discard(channel)
                raise
            self._idle.append(channel)

    def _idle_on(self, connection: Any) -> AbstractChannel | None:
        self._idle = [each for each in self._idle if each.connection is connection and not each.is_closed]
        return self._idle.pop() if self._idle else None

    def _discard(self, channel: AbstractChannel) -> None:
        if channel.is_closed:
            return
        task = asyncio.ensure_future(abandon(channel))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def publish_copy(channel: AbstractChannel, copy: Copy, exchange: str, routing_key: str) -> None:
    """Publish on a channel that has no other publish in flight, and wait until a queue has it.

    Raises:
        PublishError: No queue is bound for it.
        DeliveryError: The queue refused it.
        TimeoutError: No confirm within `CONFIRM_TIMEOUT_S`: a queue may have it or not.
    """
    publishing = asyncio.ensure_future(
        channel.basic_publish(
            copy.body, exchange=exchange, routing_key=routing_key, properties=AsItCame(copy), mandatory=True
        )
    )
    try:
        while not (await asyncio.wait({publishing}, timeout=CONFIRM_TIMEOUT_S))[0]:
            if not await is_blocked(channel.connection):
                raise TimeoutError(f"no confirm within {CONFIRM_TIMEOUT_S:g} s")
        await publishing
    finally:
        publishing.cancel()


async def is_blocked(connection: Any) -> bool:
    """Whether the broker has reported that it reads nothing for now: it is short of memory or disk."""
    try:
        async with asyncio.timeout(0):
            await connection.ready()
    except TimeoutError:
        return True
    return False


class AsItCame(Basic.Properties):
    """Properties that are written as they came; with a `message_id`, by which aiormq finds a returned publish."""

    __slots__ = ("wire",)

    def __init__(self, copy: Copy) -> None:
        values = dict(copy.properties)
        if (message_id := wire.short_text(values.get("message_id", b""))) == b"":
            message_id = uuid.uuid4().hex.encode()
            values["message_id"] = bytes([len(message_id)]) + message_id
        super().__init__(message_id=message_id.decode())
        self.wire = wire.join(values)

    def marshal(self) -> bytes:
        """What pamqp writes."""
        return self.wire
