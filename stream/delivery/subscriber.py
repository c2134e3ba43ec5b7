"""The FastStream subscriber of `outbound-processed` and `whatsapp-due`: an ordinary handler that starts a journey.

FastStream declares, consumes and documents. It takes a message for done when the handler returns, while the journey
goes on in a task of its own: the acknowledgement policy is MANUAL, and the settlement acknowledges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from aio_pika import IncomingMessage
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitRouter
from faststream.rabbit.message import RabbitMessage

from stream.broker.topology import DELIVERY, INTAKE, due_queue, intake_queue
from stream.contract.queues import QueueKind
from stream.delivery.arrival import Delivery, Limits
from stream.delivery.inflight import InFlight
from stream.delivery.journey import Journey
from stream.observe import tracing

NO_ID: Final = "none"


def build_subscriber(
    journey: Journey,
    in_flight: InFlight,
    *,
    limits: Limits,
    prefetch: int,
    queue_kind: QueueKind,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RabbitRouter:
    """A router with the one handler of this worker, on the intake and on the queue of what is due.

    Args:
        journey: Brings a delivery to its end.
        in_flight: Runs the journeys.
        limits: What is read of a message.
        prefetch: Messages in flight per replica and queue, `RABBITMQ_PREFETCH`; this is its concurrency.
        queue_kind: `RABBITMQ_QUEUE_TYPE`.
        now: The current time in UTC.
    """

    async def read(msg: RabbitMessage) -> Delivery:
        """Read the bytes, whatever content type the message claims."""
        return Delivery.read(msg.raw_message, now(), limits)

    router = RabbitRouter()
    consuming = partial(
        router.subscriber, parser=parse_message, decoder=read, ack_policy=AckPolicy.MANUAL, no_reply=True
    )

    # Channels of their own: a publish that fails must not close a channel that consumes.
    @consuming(due_queue(), DELIVERY, channel=Channel(prefetch_count=prefetch), include_in_schema=False)
    @consuming(intake_queue(queue_kind), INTAKE, channel=Channel(prefetch_count=prefetch), title="OutboundMessage")
    async def deliver(delivery: Delivery) -> None:
        """Deliver one ready-made WhatsApp message to Meta."""  # shown in the contract
        task = in_flight.start(journey.begin, delivery)
        if task is not None and tracing.tracing():  # FastStream's span of a delivery lasts as long as this does
            await asyncio.shield(task)

    return router


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
