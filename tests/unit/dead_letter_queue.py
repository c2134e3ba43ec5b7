"""A dead-letter queue for unit tests: letters as aiormq delivers them, and as much of RabbitMQ as a look uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic, Queue
from pamqp.header import ContentHeader

from stream.broker.wire import ArrivedHeaders, guard_deliveries


def delivered(body: bytes, headers: dict[str, Any], *, channel: object = None, **properties: Any) -> DeliveredMessage:
    """A letter, on a channel."""
    guard_deliveries()
    known = Basic.Properties(headers=headers, **properties)
    encoded = known.marshal()
    known.headers = ArrivedHeaders(headers, int.from_bytes(encoded[:2], "big"), encoded[2:])
    return DeliveredMessage(
        Basic.Deliver("look"), ContentHeader(body_size=len(body), properties=known), body, cast("Any", channel)
    )


class Broker:
    """RabbitMQ with one queue: its connection and its channel.

    Attributes:
        lying: What lies on the queue.
        silent: Letters at the queue's end that it does not show for now.
        loses_acks: A take-off does not reach it.
        version: RabbitMQ's.
        refusal: What it answers to a declaration without a delivery limit; `None` if the queue has none.
        prefetches: Of the consumers, in their order.
    """

    def __init__(self, lying: list[DeliveredMessage]) -> None:
        self.lying = lying
        self.silent = 0
        self.loses_acks = False
        self.version = "3.10.8"
        self.refusal: Exception | None = None
        self.consumers = 0
        self.is_closed = False
        self._shown: dict[int, DeliveredMessage] = {}
        self._tag = 0
        self.prefetches: list[int] = []
        self._take: Callable[[DeliveredMessage], Awaitable[None]]

    @property
    def server_properties(self) -> dict[str, str]:
        return {"version": self.version}

    async def channel(self, *, publisher_confirms: bool = True) -> Any:
        if not publisher_confirms:  # for another declaration: what a consumer holds stays
            return _Declaring(self.refusal)
        self.is_closed, self._tag = False, 0
        return self

    async def close(self) -> None:
        self.is_closed = True
        self.lying = [*self._shown.values(), *self.lying]
        self._shown.clear()

    async def queue_declare(self, *_: Any, **__: Any) -> Queue.DeclareOk:
        silent = self.silent if self.consumers else 0  # they are assigned to the consumer
        return Queue.DeclareOk("outbound-failed", len(self.lying) - silent, self.consumers)

    async def basic_qos(self, *, prefetch_count: int, **_: Any) -> None:
        self.prefetches.append(prefetch_count)

    async def basic_consume(self, _: str, take: Callable[[DeliveredMessage], Awaitable[None]], **__: Any) -> None:
        self.consumers, self._take = 1, take
        await self.deliver()

    async def deliver(self) -> None:
        """Show what lies there to the consumer."""
        for _ in range(min(len(self.lying) - self.silent, self.prefetches[-1])):
            message, self._tag = self.lying.pop(0), self._tag + 1
            cast("Basic.Deliver", message.delivery).delivery_tag = self._tag
            self._shown[self._tag] = message
            with suppress(Exception):  # aiormq writes it to its log
                await self._take(message)

    async def basic_cancel(self, *_: Any, **__: Any) -> None:
        self.consumers = 0

    async def basic_ack(self, tag: int) -> None:
        if not self.loses_acks:
            del self._shown[tag]

    async def basic_nack(self, tag: int, **_: Any) -> None:
        back = [self._shown.pop(each) for each in list(self._shown) if each <= tag]
        self.lying = [*back, *self.lying]


class _Declaring:
    """A channel for one declaration."""

    def __init__(self, refusal: Exception | None) -> None:
        self._refusal = refusal

    async def queue_declare(self, _: str, *, arguments: dict[str, Any], **__: Any) -> None:
        assert arguments == {"x-queue-type": "quorum", "x-delivery-limit": -1}
        if self._refusal:
            raise self._refusal

    async def close(self) -> None:
        pass
