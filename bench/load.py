"""The upstream service: fresh queues, and messages on them."""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import TYPE_CHECKING, Final

import aio_pika
import orjson

from stream.broker.declaration import declare
from stream.broker.topology import Topology
from stream.contract import delays
from stream.contract.publications import SENT
from stream.contract.queues import DEAD_LETTER_QUEUE, INTAKE_EXCHANGE, INTAKE_QUEUE, QueueKind

if TYPE_CHECKING:
    from typing import Self

    from aio_pika.abc import AbstractExchange

CONNECTION_NAME: Final = "bench-load"  # so that the broker's counts of the worker can leave it out
EVENTS_QUEUE: Final = "bench-sent-events"
EVENTS_KEPT: Final = 1000
YIELD_EVERY: Final = 200


class Load:
    """Publishes to the benchmark's own broker. Use as an async context manager.

    Args:
        url: `RABBITMQ_URL`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._published = 0

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self._url, client_properties={"connection_name": CONNECTION_NAME})
        self._channel = await self._connection.channel(publisher_confirms=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def fresh_queues(self, kind: QueueKind = "classic") -> None:
        """Make new queues: what an earlier worker left unacknowledged is deleted with the old ones."""
        for name in (INTAKE_QUEUE, DEAD_LETTER_QUEUE, EVENTS_QUEUE):
            await self._channel.queue_delete(name)
        await declare(self._connection, Topology(kind))
        # A queue is bound to the sent events, as in production: the broker has to deliver them, not to drop them.
        events = await self._channel.declare_queue(EVENTS_QUEUE, arguments={"x-max-length": EVENTS_KEPT})
        await events.bind(INTAKE_EXCHANGE, SENT.binding)

    async def publish(self, count: int, tenants: list[str]) -> list[str]:
        """Put `count` messages on the queue, the tenants in turn, and wait until they are there.

        Returns:
            Their recipients.
        """
        exchange = await self._exchange()
        recipients = []
        for number in range(count):
            recipients.append(await self._publish_one(exchange, tenants))
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        await self.depth()  # the broker answers on the same channel, so it has seen all that went before
        return recipients

    async def publish_steadily(self, rate: float, seconds: float, tenants: list[str]) -> dict[str, float]:
        """Publish at a rate, in messages a second.

        Returns:
            When each recipient's message was published, in seconds since the epoch.
        """
        exchange = await self._exchange()
        sent: dict[str, float] = {}
        started, number = time.monotonic(), 0
        while (now := time.monotonic() - started) < seconds:
            if number > now * rate:
                await asyncio.sleep(number / rate - now)
                continue
            at = time.time()
            sent[await self._publish_one(exchange, tenants)] = at
            number += 1
        return sent

    async def publish_delayed(self, count: int, tenants: list[str], delay_s: float) -> None:
        """Put `count` messages on the delay levels, from which they come to the intake after `delay_s` seconds."""
        name, routing_key = delays.route(delay_s, INTAKE_QUEUE)
        exchange = await self._channel.get_exchange(name, ensure=False)
        for number in range(count):
            message, _ = self._message(tenants[number % len(tenants)], f"1650{number:08d}")
            await exchange.publish(message, routing_key, mandatory=False)
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def depth(self) -> int:
        """Messages ready on the intake queue."""
        return (await self._channel.declare_queue(INTAKE_QUEUE, passive=True)).declaration_result.message_count or 0

    async def dead_letters(self) -> int:
        """Messages that failed: if not 0, the measurement is not valid."""
        return (
            await self._channel.declare_queue(DEAD_LETTER_QUEUE, passive=True)
        ).declaration_result.message_count or 0

    async def _exchange(self) -> AbstractExchange:
        return await self._channel.get_exchange(INTAKE_EXCHANGE, ensure=False)

    async def _publish_one(self, exchange: AbstractExchange, tenants: list[str]) -> str:
        self._published += 1
        recipient, tenant = f"1650{self._published:08d}", tenants[self._published % len(tenants)]
        message, routing_key = self._message(tenant, recipient)
        await exchange.publish(message, routing_key, mandatory=False)
        return recipient

    def _message(self, tenant: str, recipient: str) -> tuple[aio_pika.Message, str]:
        """One message and its routing key."""
        message = aio_pika.Message(make_body(tenant, recipient), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        return message, f"outbound.processed.{tenant}"


def make_body(tenant: str, recipient: str) -> bytes:
    """A text message as upstream services publish it; the recipient makes it unlike any other."""
    return orjson.dumps(
        {
            "metadata": {
                "tenantId": tenant,
                "phoneNumberId": str(10**14 + zlib.crc32(tenant.encode())),
                "internalId": f"bench-{recipient}",
                "correlationId": f"corr-{recipient}",
            },
            "wabaPayload": {
                "messaging_product": "whatsapp",
                "recipient_type": "individual",
                "to": recipient,
                "type": "text",
                "text": {"body": "Your order has been shipped and arrives on Thursday between 9 and 12."},
            },
        }
    )
