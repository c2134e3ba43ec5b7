"""The express lane: whole frames, as many in one write as there are, never on a channel that is closed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import aiormq
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import ChannelFrame
from aiormq.exceptions import ChannelInvalidStateError
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from stream.broker import express
from stream.broker.express import ExpressLane, Properties, Unanswered, abandon
from tests.unit.doubles import turns

EVENT = Properties(content_type="application/json", delivery_mode=2)
SMALL = 131_064  # bytes of a body's frame, with RabbitMQ's default frame of 128 KiB


class Connection:
    """aiormq's connection: a queue of frames that is written when the test says so."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.write_queue: asyncio.Queue[ChannelFrame] = asyncio.Queue()
        self.is_closed = False
        self.for_events: list[Channel] = []

    async def ready(self) -> None:
        """Wait while the broker takes nothing: it takes all."""

    async def channel(self, **_: bool) -> Channel:
        """The next channel that the lane opens on it."""
        return self.for_events.pop(0)

    def create_future(self) -> asyncio.Future[Any]:
        return self.loop.create_future()

    async def written(self) -> list[tuple[int, Any]]:
        """What the next write holds: the number of the channel and the frame, in order."""
        async with asyncio.timeout(5):
            one = await self.write_queue.get()
        one.drain()
        return _frames(one.payload)

    def lose(self, *channels: Channel) -> None:
        self.is_closed = True
        for channel in channels:
            channel.close()


class Channel:
    """aiormq's channel, as far as the lane uses it."""

    max_content_size = SMALL

    def __init__(self, connection: Connection, number: int = 3) -> None:
        self.connection = connection
        self.number = number
        self.write_queue = connection.write_queue
        self.delivery_tag = 0
        self.confirmations: dict[int, asyncio.Future[Any]] = {}
        self.is_closed = False
        self._Channel__close_event = asyncio.Event()  # aiormq's, which is set when it answers the broker's close

    def create_future(self) -> asyncio.Future[Any]:
        return self.connection.create_future()

    def answer_close(self) -> None:
        """The broker has closed it, and aiormq has answered; soon it will say so."""
        self._Channel__close_event.set()

    def confirm(self, tag: int) -> None:
        self.confirmations.pop(tag).set_result(None)

    def close(self) -> None:
        self.is_closed = True
        for confirmation in self.confirmations.values():
            confirmation.set_exception(ChannelInvalidStateError("closed"))


def _frames(payload: bytes) -> list[tuple[int, Any]]:
    found = []
    while payload:
        size, number, one = frame.unmarshal(payload)
        found.append((number, one))
        payload = payload[size:]
    return found


def lane_on(*channels: Channel) -> ExpressLane:
    """A lane that finds these channels, each on its connection, one after the other."""
    for channel in channels:
        channel.connection.for_events.append(channel)
    return ExpressLane()


def came_on(channel: Channel, tag: int = 1) -> AbstractIncomingMessage:
    """A message, as far as it is acknowledged."""
    return cast("AbstractIncomingMessage", SimpleNamespace(channel=channel, delivery_tag=tag))


async def publishing(lane: ExpressLane, connection: Connection, body: bytes = b"{}") -> asyncio.Task[None]:
    """An event of a message that came on a connection, as far as its channel."""
    task = asyncio.create_task(announce(lane, connection, body))
    await turns(3)
    return task


async def announce(lane: ExpressLane, connection: Connection, body: bytes = b"{}") -> None:
    await lane.publish(
        came_on(Channel(connection, 2)), body, EVENT, exchange="whatsapp-exchange", routing_key="outbound.sent.acme"
    )


async def test_an_event_is_published_and_waits_for_its_confirm() -> None:
    connection = Connection()
    channel = Channel(connection)
    task = await publishing(lane_on(channel), connection)
    (_, method), (_, header), (number, body) = await connection.written()
    assert isinstance(method, commands.Basic.Publish)
    assert (method.exchange, method.routing_key) == ("whatsapp-exchange", "outbound.sent.acme")
    assert not method.mandatory  # nobody has to be bound
    assert isinstance(header, ContentHeader)
    assert (header.body_size, header.properties.delivery_mode) == (2, 2)
    assert isinstance(body, ContentBody)
    assert (number, body.value) == (3, b"{}")
    assert not task.done()
    channel.confirm(1)
    await task


async def test_what_comes_in_one_round_goes_in_one_write_and_each_gets_its_own_confirm() -> None:
    connection = Connection()
    events, intake = Channel(connection, 3), Channel(connection, 2)
    lane = lane_on(events)
    lane.acknowledge(came_on(intake, 17))
    first, second = await publishing(lane, connection, b"1"), await publishing(lane, connection, b"2")
    frames = await connection.written() + await connection.written()
    assert [number for number, _ in frames] == [2, 3, 3, 3, 3, 3, 3]
    assert frames[0][1].delivery_tag == 17
    events.confirm(2)
    await second
    assert not first.done()
    events.confirm(1)
    await first


async def test_what_comes_while_a_write_is_on_its_way_goes_together_with_the_next() -> None:
    connection = Connection()
    intake = Channel(connection, 2)
    lane = lane_on(intake)
    lane.acknowledge(came_on(intake, 1))
    await turns(3)
    for tag in (2, 3, 4):
        lane.acknowledge(came_on(intake, tag))
    assert [one.delivery_tag for _, one in await connection.written()] == [1]
    assert [one.delivery_tag for _, one in await connection.written()] == [2, 3, 4]
    await lane.flush()


async def test_a_lane_that_gathers_has_what_comes_in_the_meantime_in_one_write() -> None:
    connection = Connection()
    intake = Channel(connection, 2)
    lane = ExpressLane(gather_s=0.05)
    lane.acknowledge(came_on(intake, 1))
    await turns(10)
    lane.acknowledge(came_on(intake, 2))
    assert [one.delivery_tag for _, one in await connection.written()] == [1, 2]
    await lane.flush()


async def test_a_body_larger_than_a_frame_is_split() -> None:
    connection = Connection()
    channel = Channel(connection)
    body = b"x" * (SMALL + 1)
    task = await publishing(lane_on(channel), connection, body)
    _, _, *parts = await connection.written()
    assert [len(part.value) for _, part in parts] == [SMALL, 1]
    channel.confirm(1)
    await task


async def test_nothing_is_written_on_a_channel_that_was_closed_meanwhile() -> None:
    connection = Connection()
    other, intake = Channel(connection, 3), Channel(connection, 2)
    lane = lane_on()
    lane.acknowledge(came_on(other))
    lane.acknowledge(came_on(intake))
    other.close()
    assert [number for number, _ in await connection.written()] == [2]


def test_aiormq_still_keeps_to_itself_what_the_lane_looks_at() -> None:
    assert "_Channel__close_event" in aiormq.Channel.__init__.__code__.co_names


async def test_nothing_is_written_on_an_abandoned_channel_but_its_close() -> None:
    connection = Connection()
    events, intake = Channel(connection, 3), Channel(connection, 2)
    lane = lane_on(events)
    lane.acknowledge(came_on(intake, 1))
    await abandon(intake)
    with pytest.raises(ChannelInvalidStateError):
        lane.acknowledge(came_on(intake, 2))
    lane.acknowledge(came_on(events, 7))
    written = [*await connection.written(), *await connection.written()]
    assert [(number, type(each)) for number, each in written] == [(2, commands.Channel.Close), (3, commands.Basic.Ack)]


async def test_nothing_is_written_after_the_answer_to_the_brokers_close_of_a_channel() -> None:
    connection = Connection()
    events, intake = Channel(connection, 3), Channel(connection, 2)
    lane = lane_on(events)
    lane.acknowledge(came_on(intake, 1))
    intake.answer_close()
    events.answer_close()
    with pytest.raises(ChannelInvalidStateError):
        lane.acknowledge(came_on(intake, 2))
    with pytest.raises(ChannelInvalidStateError):
        await announce(lane, connection)
    await asyncio.wait_for(lane.flush(), 5)
    assert connection.write_queue.empty()


async def test_a_broker_without_a_limit_for_frames_gets_the_body_in_one() -> None:
    connection = Connection()
    channel = Channel(connection)
    channel.max_content_size = -8  # what aiormq makes of frame_max 0
    task = await publishing(lane_on(channel), connection)
    _, _, (_, body) = await connection.written()
    assert body.value == b"{}"
    channel.confirm(1)
    await task


async def test_an_event_of_a_message_whose_channel_is_closed_fails_at_once() -> None:
    connection = Connection()
    intake = Channel(connection, 2)
    intake.close()
    with pytest.raises(ChannelInvalidStateError, match="closed"):
        await lane_on(Channel(connection)).publish(
            came_on(intake), b"{}", EVENT, exchange="whatsapp-exchange", routing_key="k"
        )


async def test_a_channel_that_the_broker_has_closed_is_replaced_on_the_same_connection() -> None:
    connection = Connection()
    first, second = Channel(connection, 3), Channel(connection, 4)
    lane = lane_on(first, second)
    lost = await publishing(lane, connection)
    await connection.written()
    first.close()
    with pytest.raises(ChannelInvalidStateError):
        await lost
    again = await publishing(lane, connection)
    assert {number for number, _ in await connection.written()} == {4}
    second.confirm(1)
    await again


async def test_a_channel_that_does_not_open_is_waited_for_as_long_as_the_connection_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(express, "OPEN_TIMEOUT_S", 0.01)
    connection = Connection()
    intake = Channel(connection, 2)

    async def never(**_: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(connection, "channel", never)
    publish = asyncio.create_task(
        lane_on().publish(came_on(intake), b"{}", EVENT, exchange="whatsapp-exchange", routing_key="k")
    )
    await asyncio.sleep(0.05)
    assert not publish.done()
    intake.close()
    with pytest.raises(ChannelInvalidStateError):
        await asyncio.wait_for(publish, 5)


async def test_a_connection_that_closes_as_a_channel_is_opened_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection()

    async def closed(**_: Any) -> Any:
        raise RuntimeError("closed")  # aiormq's own

    monkeypatch.setattr(connection, "channel", closed)
    with pytest.raises(ChannelInvalidStateError):
        await announce(lane_on(), connection)


async def test_after_a_reconnect_nothing_of_the_old_connection_reaches_the_new_one() -> None:
    old, new = Connection(), Connection()
    before, after = Channel(old), Channel(new)
    lane = lane_on(before, after)
    lost = await publishing(lane, old)
    lane.acknowledge(came_on(before, 1))
    old.lose(before)
    with pytest.raises(ChannelInvalidStateError):
        await lost
    again = await publishing(lane, new)
    frames = await new.written()
    assert [type(one) for _, one in frames] == [commands.Basic.Publish, ContentHeader, ContentBody]
    after.confirm(1)
    await again


async def test_a_confirm_that_does_not_come_fails_its_publish_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(express, "SWEEP_S", 0.01)
    monkeypatch.setattr(express, "CONFIRM_TIMEOUT_S", 0.05)
    connection = Connection()
    channel = Channel(connection)
    lane = lane_on(channel)
    frozen = await publishing(lane, connection)
    await connection.written()
    with pytest.raises(Unanswered, match="no confirm"):
        await asyncio.wait_for(frozen, 5)
    for tag in (2, 3):  # it watches again when there is something to watch, and does not count the one that failed
        confirmed = await publishing(lane, connection)
        await connection.written()
        channel.confirm(tag)
        await asyncio.wait_for(confirmed, 5)


async def test_a_stop_waits_for_what_is_not_written_yet_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection()
    intake = Channel(connection, 2)
    lane = lane_on(intake)
    await lane.flush()  # nothing was written ever
    lane.acknowledge(came_on(intake, 1))
    flushing = asyncio.create_task(lane.flush())
    await asyncio.sleep(0)
    assert not flushing.done()
    await connection.written()
    await asyncio.wait_for(flushing, 5)
    monkeypatch.setattr(express, "FLUSH_S", 0.01)
    lane.acknowledge(came_on(intake, 2))  # and the broker takes nothing any more
    await asyncio.wait_for(lane.flush(), 5)


async def test_a_lost_connection_ends_the_wait_of_a_stop() -> None:
    connection = Connection()
    intake = Channel(connection, 2)
    lane = lane_on(intake)
    lane.acknowledge(came_on(intake, 1))
    connection.lose(intake)
    await asyncio.wait_for(lane.flush(), 1)
    assert connection.write_queue.empty()
