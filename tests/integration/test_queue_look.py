"""A look at a queue: all of it is shown, and afterwards it lies there as before, however the look ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import pytest
from aiormq.abc import AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from stream.broker import look as mechanics
from stream.broker.look import Look, QueueInUse, look_at
from stream.contract.queues import DEAD_LETTER_QUEUE
from tests.scene import Scene

LETTERS = 2_000
KINDS = ("classic", "quorum")
# For long tests: what newer classic queues do with what is given back, short ones say.
QUORUM_ON_NEWER = (pytest.param("classic", marks=pytest.mark.any_servers), "quorum")
Content = list[tuple[bytes, dict[str, Any]]]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AbstractConnection]:
    connection = await aiormq.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def fill(connection: AbstractConnection, numbers: Iterable[int], queue: str = DEAD_LETTER_QUEUE) -> None:
    channel = await connection.channel()
    publishes = [
        channel.basic_publish(
            b"%d" % number,
            routing_key=queue,
            properties=Basic.Properties(delivery_mode=2, priority=number % 4, headers={"x-number": number}),
        )
        for number in numbers
    ]
    await asyncio.gather(*publishes)
    await channel.close()


async def content(connection: AbstractConnection, queue: str = DEAD_LETTER_QUEUE) -> Content:
    """What a look shows, without RabbitMQ's own count of deliveries."""
    shown: Content = []

    def visit(message: DeliveredMessage) -> None:
        arrived = message.header.properties.headers or {}
        headers = {name: value for name, value in arrived.items() if not name.endswith("-count")}
        shown.append((message.body, headers))

    async with look_at(connection, queue, visit) as look:
        assert await look.catch_up(look.goal)
    return shown


def ignore(_: DeliveredMessage) -> None:
    pass


@pytest.mark.parametrize("chunk", [60_000, 300], ids=["one consumer", "several consumers"])
@pytest.mark.parametrize("kind", KINDS)
async def test_any_number_of_looks_shows_the_same_in_the_same_order(
    stage: Scene, kind: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mechanics, "CHUNK", chunk)
    await stage.declare("quorum" if kind == "quorum" else "classic")
    async with connected(stage.url) as connection:
        await fill(connection, range(LETTERS))
        first = await content(connection)
        assert sorted(int(body) for body, _ in first) == list(range(LETTERS))
        for _ in range(25):  # more than RabbitMQ's own limit of returns
            assert await content(connection) == first


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_ends_in_the_middle_changes_nothing(
    stage: Scene, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    async with connected(stage.url) as connection:
        await fill(connection, range(LETTERS))
        first = await content(connection)
        for moment in (1, 10, 500, LETTERS):
            await _cut_after(moment, stage.url, monkeypatch)
            assert await _all_back(connection)
            assert await content(connection) == first


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_taken_off_is_gone_and_the_rest_lies_as_before(stage: Scene, kind: str) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    async with connected(stage.url) as connection:
        await fill(connection, range(LETTERS))
        first = await content(connection)
        tags: list[int] = []

        def pick(message: DeliveredMessage) -> None:
            if int(message.body) % 3 == 0:
                tags.append(message.delivery_tag or 0)

        async with look_at(connection, DEAD_LETTER_QUEUE, pick) as look:
            assert await look.catch_up(look.goal)
            for tag in tags:
                await look.take_off(tag)
        assert await content(connection) == [each for each in first if int(each[0]) % 3]


@pytest.mark.parametrize("kind", KINDS)
async def test_letters_that_come_during_a_look_are_shown_and_stay(stage: Scene, kind: str) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    async with connected(stage.url) as connection:
        await fill(connection, range(10))
        async with look_at(connection, DEAD_LETTER_QUEUE, ignore) as look:
            await fill(connection, range(10, 15))
            assert await look.catch_up(15)
        assert {int(body) for body, _ in await content(connection)} == set(range(15))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_second_look_at_the_same_time_is_told_so(stage: Scene, kind: str) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    async with connected(stage.url) as connection, connected(stage.url) as other:
        async with look_at(connection, DEAD_LETTER_QUEUE, ignore):
            with pytest.raises(QueueInUse):
                await content(other)
        assert await content(other) == []


async def test_letters_that_somebody_else_takes_end_no_look(stage: Scene) -> None:
    await stage.declare()
    async with connected(stage.url) as connection, look_at(connection, DEAD_LETTER_QUEUE, ignore) as look:
        assert not await look.catch_up(1)


async def _cut_after(moment: int, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look until so many messages were shown, then cut the connection."""
    connection = await aiormq.connect(url)
    seen = asyncio.Event()
    shown: list[bytes] = []

    def visit(message: DeliveredMessage) -> None:
        shown.append(message.body)
        if len(shown) >= moment:
            seen.set()

    with monkeypatch.context() as patch:
        patch.setattr(Look, "end", _nothing)  # a process that is killed says no word more
        async with look_at(connection, DEAD_LETTER_QUEUE, visit):
            await asyncio.wait_for(seen.wait(), 10)
            await connection.close(ConnectionAbortedError())


async def _nothing(_: Look) -> None:
    pass


async def _all_back(connection: AbstractConnection) -> bool:
    channel = await connection.channel()
    for _ in range(200):
        if (await channel.queue_declare(DEAD_LETTER_QUEUE, passive=True)).message_count == LETTERS:
            await channel.close()
            return True
        await asyncio.sleep(0.05)
    return False
