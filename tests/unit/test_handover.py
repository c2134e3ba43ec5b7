"""Handing over: on the connection of the original, one publish at a time on a channel, for as long as there is hope."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelInvalidStateError, DeliveryError, PublishError
from pamqp.commands import Basic

from stream.broker import express, handover
from stream.broker.handover import Handover
from stream.broker.republish import Copy, final_copy
from tests.unit.doubles import incoming, turns


class Connection:
    """aiormq's connection: opens channels whose publishes wait for the test."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.blocked = False
        self.as_it_opens: Callable[[], None] = lambda: None

    async def channel(self, **_: bool) -> Channel:
        self.as_it_opens()
        self.channels.append(Channel(self))
        return self.channels[-1]

    async def ready(self) -> None:
        while self.blocked:  # noqa: ASYNC110 - aiormq waits for an event here
            await asyncio.sleep(0.001)


class Channel:
    """aiormq's channel, as far as a copy is published on it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_closed = False
        self._Channel__close_event = asyncio.Event()
        self.number = 1
        self.write_queue: asyncio.Queue[object] = asyncio.Queue()
        self.publishes: list[tuple[Basic.Properties, asyncio.Future[None]]] = []

    async def basic_publish(self, _: bytes, *, properties: Basic.Properties, mandatory: bool, **__: str) -> None:
        assert mandatory
        answer = asyncio.get_running_loop().create_future()
        self.publishes.append((properties, answer))
        await answer

    @property
    def abandoned(self) -> bool:
        """Whether its close was written, once."""
        return self.write_queue.qsize() == 1


def came_on(connection: Connection) -> AbstractIncomingMessage:
    return cast("AbstractIncomingMessage", SimpleNamespace(channel=Channel(connection)))


async def publishing(hand: Handover, connection: Connection, copy: Copy | None = None) -> asyncio.Task[None]:
    copy = copy or final_copy(incoming(message_id="one-id-for-all"), {})
    task = asyncio.create_task(hand.publish(came_on(connection), copy, exchange="whatsapp-dlx", routing_key="k"))
    await turns(4)
    return task


async def test_two_publishes_at_once_are_on_two_channels_and_a_free_channel_is_used_again() -> None:
    hand, connection = Handover(), Connection()
    first, second = await publishing(hand, connection), await publishing(hand, connection)
    one, two = connection.channels
    one.publishes[0][1].set_result(None)
    await first
    third = await publishing(hand, connection)
    assert [len(channel.publishes) for channel in (one, two)] == [2, 1]
    for channel in (one, two):
        channel.publishes[-1][1].set_result(None)
    await asyncio.gather(second, third)


@pytest.mark.parametrize("message_id", ["m-1", None])
async def test_a_copy_without_a_message_id_gets_one_and_another_keeps_its_own(message_id: str | None) -> None:
    hand, connection = Handover(), Connection()
    task = await publishing(hand, connection, final_copy(incoming(message_id=message_id), {}))
    ((properties, answer),) = connection.channels[0].publishes
    written = Basic.Properties()
    written.unmarshal(int.from_bytes(properties.marshal()[:2], "big"), properties.marshal()[2:])
    assert written.message_id == properties.message_id
    assert written.message_id == (message_id or properties.message_id)
    assert written.message_id
    answer.set_result(None)
    await task


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (PublishError(cast("Any", SimpleNamespace(delivery=Basic.Return(), body=b"")), Basic.Return()), True),
        (DeliveryError(None, Basic.Nack()), False),  # RabbitMQ 3.10 may refuse whatever comes next on it
    ],
    ids=["no queue", "refused"],
)
async def test_a_refusal_is_told_and_its_channel_is_used_again_only_if_there_was_no_queue(
    error: Exception, *, kept: bool
) -> None:
    hand, connection = Handover(), Connection()
    refused = await publishing(hand, connection)
    connection.channels[0].publishes[0][1].set_exception(error)
    with pytest.raises(DeliveryError):
        await refused
    await publishing(hand, connection)
    assert len(connection.channels) == (1 if kept else 2)


async def test_a_channel_whose_confirm_does_not_come_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "CONFIRM_TIMEOUT_S", 0.01)
    hand, connection = Handover(), Connection()
    with pytest.raises(TimeoutError, match="no confirm"):
        await (await publishing(hand, connection))
    await publishing(hand, connection)
    assert [channel.abandoned for channel in connection.channels] == [True, False]


async def test_a_broker_that_is_short_of_memory_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "CONFIRM_TIMEOUT_S", 0.01)
    hand, connection = Handover(), Connection()
    task = await publishing(hand, connection)
    connection.blocked = True
    await asyncio.sleep(0.05)
    assert not task.done()
    connection.channels[0].publishes[0][1].set_result(None)
    await asyncio.wait_for(task, 5)


async def test_nothing_is_published_once_the_connection_of_the_original_is_lost() -> None:
    hand, connection = Handover(), Connection()
    original = came_on(connection)
    original.channel.is_closed = True  # type: ignore[misc]
    with pytest.raises(ChannelInvalidStateError):
        await hand.publish(original, final_copy(incoming(), {}), exchange="whatsapp-dlx", routing_key="k")
    assert connection.channels == []


async def test_nothing_is_published_once_the_original_was_put_back_while_a_channel_opened() -> None:
    hand, connection = Handover(), Connection()
    original = came_on(connection)
    connection.as_it_opens = lambda: setattr(original.channel, "is_closed", True)
    with pytest.raises(ChannelInvalidStateError):
        await hand.publish(original, final_copy(incoming(), {}), exchange="whatsapp-dlx", routing_key="k")
    assert [channel.publishes for channel in connection.channels] == [[]]


async def test_a_broker_that_takes_nothing_is_asked_for_no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(express, "OPEN_TIMEOUT_S", 0.01)
    hand, connection = Handover(), Connection()
    connection.blocked = True
    task = await publishing(hand, connection)
    await asyncio.sleep(0.05)
    assert connection.channels == []
    connection.blocked = False
    async with asyncio.timeout(5):
        while not (connection.channels and connection.channels[0].publishes):  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(0.001)
    connection.channels[0].publishes[0][1].set_result(None)
    await task


async def test_channels_of_a_lost_connection_are_not_used_on_the_next() -> None:
    hand, old, new = Handover(), Connection(), Connection()
    task = await publishing(hand, old)
    old.channels[0].publishes[0][1].set_result(None)
    await task
    await publishing(hand, new)
    assert [len(each.channels) for each in (old, new)] == [1, 1]


async def test_a_caller_that_is_cancelled_leaves_no_channel_with_an_answer_to_come() -> None:
    hand, connection = Handover(), Connection()
    task = await publishing(hand, connection)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns(3)
    assert connection.channels[0].abandoned
