"""A client of RabbitMQ outside the worker: it publishes, counts and collects messages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import aio_pika

from stream.broker.addresses import CONNECT_TIMEOUT_S, Addresses, AnyAddress
from stream.contract import delays
from stream.contract.lanes import DEFAULT_LANES, lane_names
from stream.contract.queues import DEAD_LETTER_QUEUE, DUE_QUEUE, INTAKE_EXCHANGE, INTAKE_QUEUE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractRobustConnection


async def connect(url: str) -> AbstractRobustConnection:
    """Connect to the addresses in a value of `RABBITMQ_URL`, and again when the connection is lost."""
    addresses = Addresses(url)
    return await aio_pika.connect_robust(
        addresses.url,
        timeout=CONNECT_TIMEOUT_S,
        reconnect_interval=0.5,
        connection_class=partial(AnyAddress, addresses=addresses),
    )


class Outside:
    """A separate client, beside the worker. Use as an async context manager.

    Args:
        url: `RABBITMQ_URL`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._channel: AbstractChannel | None = None

    async def __aenter__(self) -> Self:
        """Connect."""
        self._connection = await connect(self._url)
        await self.channel()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._connection.close()

    async def channel(self) -> AbstractChannel:
        """The channel of all that it does."""
        self._channel = self._channel or await self._connection.channel()
        return self._channel

    def leave_channel(self) -> None:
        """Take another channel: RabbitMQ 3.10 goes on to refuse what comes on one that met a queue without a leader."""
        self._channel = None

    async def publish(
        self, body: bytes, tenant: str = "demo", *, headers: Mapping[str, Any] | None = None, **properties: Any
    ) -> None:
        """Publish to the intake exchange as an upstream service would, with a confirm."""
        exchange = await (await self.channel()).get_exchange(INTAKE_EXCHANGE, ensure=False)
        message = aio_pika.Message(
            body, headers=dict(headers or {}), delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties
        )
        await exchange.publish(message, f"outbound.processed.{tenant}")

    async def count(self, queue: str) -> int:
        """Messages that are ready in a queue."""
        # The robust channel would answer from memory.
        channel = await (await self.channel()).get_underlay_channel()
        return int((await channel.queue_declare(queue, passive=True)).message_count or 0)

    async def waiting(self) -> int:
        """Messages on the delay levels, and those that have come back to be sent now."""
        levels = [delays.level_name(level) for level in range(delays.LEVELS)]
        return sum([await self.count(queue) for queue in (*levels, DUE_QUEUE)])

    async def intake(self) -> int:
        """Messages that no worker has taken yet, on the intake or moved to the lanes."""
        return await self.count(INTAKE_QUEUE) + sum([await self.count(lane) for lane in lane_names(DEFAULT_LANES)])

    async def dead_letters(self) -> int:
        """Letters in the dead-letter queue."""
        return await self.count(DEAD_LETTER_QUEUE)

    async def take_dead_letters(self) -> list[AbstractIncomingMessage]:
        """Everything in the dead-letter queue, taken off it."""
        queue = await (await self.channel()).get_queue(DEAD_LETTER_QUEUE, ensure=False)
        letters = []
        while (letter := await queue.get(no_ack=True, fail=False)) is not None:
            letters.append(letter)
        return letters
