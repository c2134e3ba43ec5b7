"""The FastStream subscriber of `outbound-processed`.

FastStream declares, consumes and documents. What it would do around a handler (acknowledge on return, reject on error,
inject parameters through a thread pool) is not used: for each message a middleware starts a task that brings it through
the consumer, which settles it explicitly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aio_pika import IncomingMessage
from faststream import AckPolicy, BaseMiddleware
from faststream.rabbit import Channel, RabbitRouter
from faststream.rabbit.message import RabbitMessage

from stream.broker.topology import INTAKE, intake_queue
from stream.contract.decoding import decode
from stream.contract.messages import Message
from stream.contract.queues import QueueKind
from stream.contract.validity import ALWAYS, Validity
from stream.delivery.consumer import Attempt, MessageConsumer
from stream.delivery.inflight import InFlight
from stream.delivery.processor import MessageProcessor
from stream.observe import tracing

NO_ID: Final = "none"


class Arrival(RabbitMessage):
    """A message on its way through FastStream."""

    validity: Validity = ALWAYS


def build_subscriber(
    *,
    processor: MessageProcessor,
    consumer: MessageConsumer,
    in_flight: InFlight,
    prefetch: int,
    max_bytes: int,
    queue_kind: QueueKind,
) -> RabbitRouter:
    """A router with the one subscriber of this worker.

    Args:
        processor: Tries to deliver a message.
        consumer: Decides and settles.
        in_flight: Runs the tries.
        prefetch: Messages in flight per replica, `RABBITMQ_PREFETCH`; this is its concurrency.
        max_bytes: `MESSAGE_MAX_BYTES`.
        queue_kind: `RABBITMQ_QUEUE_TYPE`.
    """

    async def decode_message(msg: Arrival) -> Message:
        """Decode from the bytes: no content type may be assumed."""
        return decode(msg.body, msg.headers, msg.validity, max_bytes=max_bytes)

    class Settle(BaseMiddleware[Any, Any]):
        async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: Any) -> None:
            # FastStream takes the message for done when this returns, while the rest of its chain runs in our task. Its
            # lock, scopes and acknowledgement are over by then: nothing here uses them, and a stop drains `in_flight`.
            async def attempt(validity: Validity) -> Any:
                msg.validity = validity
                return await call_next(msg)

            incoming = msg.raw_message
            task = in_flight.start(lambda: consumer.consume(incoming, attempt), incoming)
            if task is not None and tracing.tracing():  # FastStream's span of a try lasts as long as this does
                await asyncio.shield(task)

    router = RabbitRouter(middlewares=[Settle])

    @router.subscriber(
        intake_queue(queue_kind),
        INTAKE,
        # A channel of its own: a publish that fails must not close the channel that consumes.
        channel=Channel(prefetch_count=prefetch),
        parser=parse_message,
        decoder=decode_message,
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        title="OutboundMessage",
    )
    async def deliver(message: Message) -> Attempt:
        """Deliver one ready-made WhatsApp message to Meta."""
        in_flight.describe(message)
        return Attempt(message, await processor.process(message))

    return router


async def parse_message(incoming: IncomingMessage) -> Arrival:
    """FastStream would draw two random ids for a message that has none, or an empty one; nothing here reads them."""
    return Arrival(
        incoming,
        incoming.body,
        headers=incoming.headers,
        content_type=incoming.content_type,
        message_id=incoming.message_id or NO_ID,
        correlation_id=incoming.correlation_id or NO_ID,
    )
