"""A look whose visitor fails: the error reaches the command, and every letter is given back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import pytest
from aiormq.abc import AbstractConnection, DeliveredMessage
from pamqp.commands import Basic, Queue
from pamqp.header import ContentHeader

from stream.broker import look as mechanics
from stream.broker.look import look_at


class Broker:
    """RabbitMQ with one queue: its connection and its channel, as far as a look uses them."""

    def __init__(self, lying: int) -> None:
        self.lying = lying
        self.ready = lying
        self.consumers = 0
        self.is_closed = False
        self._prefetch = 0
        self._take: Callable[[DeliveredMessage], Awaitable[None]]

    async def channel(self) -> Broker:
        return self

    async def close(self) -> None:
        self.is_closed = True

    async def queue_declare(self, *_: Any, **__: Any) -> Queue.DeclareOk:
        return Queue.DeclareOk("outbound-failed", self.ready, self.consumers)

    async def basic_qos(self, *, prefetch_count: int, **_: Any) -> None:
        self._prefetch = prefetch_count

    async def basic_consume(self, _: str, take: Callable[[DeliveredMessage], Awaitable[None]], **__: Any) -> None:
        self.consumers, self._take = 1, take
        await self.deliver()

    async def deliver(self) -> None:
        """Show what lies there to the consumer."""
        for _ in range(min(self.ready, self._prefetch)):
            self.ready -= 1
            deliver = Basic.Deliver("look", self.lying - self.ready)
            with suppress(Exception):  # aiormq writes it to its log
                await self._take(DeliveredMessage(deliver, ContentHeader(), b"", cast("Any", self)))

    async def basic_cancel(self, *_: Any, **__: Any) -> None:
        self.consumers = 0

    async def basic_nack(self, tag: int, **_: Any) -> None:
        self.ready = tag


async def look_and_fail(broker: Broker, error: Exception, *, catch_up: bool) -> list[int]:
    shown: list[int] = []

    def visit(message: DeliveredMessage) -> None:
        shown.append(message.delivery_tag or 0)
        if len(shown) == 2:
            raise error

    async with look_at(cast("AbstractConnection", broker), "outbound-failed", visit) as look:
        if catch_up:
            await look.catch_up(look.goal)
            pytest.fail("nobody was told")
    return shown


@pytest.mark.parametrize("catch_up", [True, False])
@pytest.mark.parametrize("chunk", [60_000, 2])
@pytest.mark.parametrize("error", [ValueError("no such field"), OSError("no space left")])
async def test_what_a_visitor_raises_ends_the_look_and_every_letter_lies_there_again(
    error: Exception, chunk: int, *, catch_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mechanics, "CHUNK", chunk)
    monkeypatch.setattr(mechanics, "QUIET_S", 0.001)
    broker = Broker(5)
    with pytest.raises(type(error), match=str(error)):
        await look_and_fail(broker, error, catch_up=catch_up)
    assert (broker.ready, broker.consumers, broker.is_closed) == (5, 0, True)


async def make_room_after_a_late_failure() -> None:
    broker = Broker(0)

    def visit(_: DeliveredMessage) -> None:
        raise ValueError("unreadable")

    async with look_at(cast("AbstractConnection", broker), "outbound-failed", visit) as look:
        broker.lying = broker.ready = 1  # it comes while the look lasts
        await broker.deliver()
        await look.make_room()
        pytest.fail("nobody was told")


async def test_a_job_that_waits_for_outcomes_is_told_too() -> None:
    with pytest.raises(ValueError, match="unreadable"):
        await make_room_after_a_late_failure()
