"""The FastStream subscribers of all queues that are consumed: an ordinary handler that starts a message's journey.

FastStream declares, consumes and documents. It takes a message for done when the handler returns, while the journey
goes on in a task of its own: the acknowledgement policy is MANUAL, and the settlement acknowledges.

What FastStream does around a handler serves middlewares and injection, and only traces need a middleware. Without
traces, a message goes from aio-pika to the handler directly: that is a seventh of its CPU (`bench/README.md`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aio_pika import IncomingMessage
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitExchange, RabbitQueue, RabbitRouter
from faststream.rabbit.message import RabbitMessage

from stream.broker.topology import DELIVERY, Topology
from stream.delivery.admission import Admission
from stream.delivery.arrival import Delivery, Limits
from stream.observe import tracing

NO_ID: Final = "none"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the subscribers read.

    Attributes:
        admission: Starts a delivery's journey.
        limits: What is read of a message.
        now: The current time in UTC.
    """

    admission: Admission
    limits: Limits
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def decoder(self, lane: str = "") -> Callable[[RabbitMessage], Awaitable[Delivery]]:
        """What reads the bytes that come from a lane, or from the intake, whatever content type they claim."""

        async def read(msg: RabbitMessage) -> Delivery:
            return Delivery.read(msg.raw_message, self.now(), self.limits, lane)

        return read

    def receiver(self, lane: str = "") -> Callable[[IncomingMessage], Coroutine[Any, Any, None]]:
        """What reads and delivers a message of a lane, or of the intake, without FastStream."""

        async def receive(incoming: IncomingMessage) -> None:
            await self.deliver(Delivery.read(incoming, self.now(), self.limits, lane))

        return receive

    async def deliver(self, delivery: Delivery) -> None:
        """Deliver one ready-made WhatsApp message to Meta."""  # shown in the contract
        task = await self.admission.start(delivery)
        if task is not None and tracing.tracing():  # FastStream's span of a delivery lasts as long as this does
            await asyncio.shield(task)


def build_subscribers(reading: Reading, topology: Topology, *, prefetch: int) -> RabbitRouter:
    """A router with the handler on the intake, and on the queue of what is due.

    Args:
        reading: How they read.
        topology: Names the queues.
        prefetch: Most messages of each that are here at once, in flight or waiting for a slot.
    """
    router = RabbitRouter()
    # Channels of their own: a publish that fails must not close a channel that consumes.
    for queue, exchange, title in (
        (topology.intake, topology.intake_exchange, "OutboundMessage"),
        (topology.due, DELIVERY, None),
    ):
        channel, shown = Channel(prefetch_count=prefetch), title is not None
        _subscribe(router, reading, queue.subscribed(), exchange, channel=channel, title=title, include_in_schema=shown)
    return router


def build_lane_subscribers(reading: Reading, lanes: Iterable[RabbitQueue], *, prefetch: int) -> RabbitRouter:
    """A router with the handler on each lane.

    Args:
        reading: How they read.
        lanes: The lanes' queues.
        prefetch: Most messages of each lane that are here at once.
    """
    router, channel = RabbitRouter(), Channel(prefetch_count=prefetch)  # the prefetch is counted for each consumer
    for lane in lanes:
        _subscribe(router, reading, lane, DELIVERY, channel=channel, lane=lane.name, include_in_schema=False)
    return router


def _subscribe(
    router: RabbitRouter, reading: Reading, queue: RabbitQueue, exchange: RabbitExchange, *, lane: str = "", **more: Any
) -> None:
    subscriber = router.subscriber(
        queue,
        exchange,
        parser=parse_message,
        decoder=reading.decoder(lane),
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        **more,
    )
    subscriber(reading.deliver)
    if not tracing.tracing():
        subscriber.consume = reading.receiver(lane)  # type: ignore[method-assign,assignment] # what aio-pika calls


async def parse_message(incoming: IncomingMessage) -> RabbitMessage:
    """FastStream would draw two random ids for a message that has none, or an empty one; nothing here reads them."""
    return RabbitMessage(
        incoming,
        incoming.body,
        headers=incoming.headers,
        content_type=incoming.content_type,
        message_id=incoming.message_id or NO_ID,
        correlation_id=incoming.correlation_id or NO_ID,
    )
