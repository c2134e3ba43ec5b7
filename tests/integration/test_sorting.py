"""Sorting on a real broker: many moves in flight lose nothing, and what does not move is left or passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue, AbstractRobustConnection
from pamqp.common import FieldTable
from structlog.testing import capture_logs

from stream.broker.frames import queue_all_frames
from stream.broker.republish import waiting_copy
from stream.broker.sorting import LARGEST_BYTES, LOOKED_AT, Sorted, Sorting
from stream.broker.wire import guard_deliveries
from stream.contract.lanes import LANE_EXCHANGE, lane_name
from stream.contract.queues import INTAKE_QUEUE
from tests.scene import Scene

LANE = lane_name(3)
MESSAGES = 2 * LOOKED_AT


@dataclass
class Backlog:
    """The intake and the lane, while it is sorted; notes what was settled and what was passed on."""

    intake: AbstractQueue
    lane: AbstractQueue
    connection: AbstractRobustConnection
    moves: Callable[[bytes], bool] = lambda _: True
    settled: list[bytes] = field(default_factory=list)
    passed_on: list[bytes] = field(default_factory=list)

    def sort(self, incoming: AbstractIncomingMessage) -> Sorted | None:
        if not self.moves(incoming.body):
            return None
        copy = waiting_copy(incoming, {"x-moved-at": "now"})
        return Sorted(copy, LANE_EXCHANGE, LANE, lambda: self.settled.append(incoming.body))

    async def pass_on(self, incoming: aio_pika.IncomingMessage) -> None:
        self.passed_on.append(incoming.body)
        await incoming.ack()

    async def publish(self, *bodies: bytes) -> None:
        async with await self.connection.channel() as channel:
            for body in bodies:
                message = aio_pika.Message(body, message_id="the-same", headers={"x-own": 1})
                await channel.default_exchange.publish(message, INTAKE_QUEUE)

    @asynccontextmanager
    async def sorted(self) -> AsyncIterator[None]:
        transport = self.connection.transport
        assert transport is not None
        sorting = Sorting(
            lambda: transport.connection,
            intake=INTAKE_QUEUE,
            moves=count(step=1000).__next__,
            sort=self.sort,
            pass_on=self.pass_on,
        )
        watching = asyncio.create_task(sorting.watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await sorting.stop()


@pytest.fixture
async def backlog(stage: Scene) -> AsyncIterator[Backlog]:
    guard_deliveries()
    queue_all_frames()
    await stage.declare()
    async with await aio_pika.connect_robust(stage.url) as connection:
        channel = await connection.channel()
        yield Backlog(await channel.get_queue(INTAKE_QUEUE), await channel.get_queue(LANE), connection)


async def test_a_backlog_moves_whole_and_in_order_though_all_its_messages_have_one_id(
    stage: Scene, backlog: Backlog
) -> None:
    bodies = [b"%d" % each for each in range(MESSAGES)]
    await backlog.publish(*bodies)
    async with backlog.sorted():
        await stage.until(lambda: sorted(backlog.settled) == sorted(bodies), 20, "all moved")
    moved = [await backlog.lane.get(timeout=5) for _ in bodies]
    assert [each.body for each in moved] == bodies
    assert {(each.headers["x-own"], each.headers["x-moved-at"], each.message_id) for each in moved} == {
        (1, "now", "the-same")
    }
    await backlog.connection.close()  # what was not acknowledged would be back
    assert await stage.outside.count(INTAKE_QUEUE) == 0


async def test_what_does_not_move_is_passed_on(stage: Scene, backlog: Backlog) -> None:
    backlog.moves = lambda body: body == b"noisy"
    await backlog.publish(b"noisy", b"quiet", b"noisy")
    async with backlog.sorted():
        await stage.until(lambda: backlog.passed_on == [b"quiet"] and len(backlog.settled) == 2)


async def test_a_large_body_is_put_back_for_the_intakes_own_consumer(stage: Scene, backlog: Backlog) -> None:
    large = [b"large".ljust(LARGEST_BYTES + 1)] * 5
    await backlog.publish(b"small", *large, b"small")
    async with backlog.sorted():
        await stage.until_async(partial(stage.outside.count, INTAKE_QUEUE), len(large))
        await stage.until(lambda: len(backlog.settled) == 2)
        await asyncio.sleep(1)  # four looks: it rests
        assert await stage.outside.count(INTAKE_QUEUE) == len(large)
        await backlog.publish(b"later")
        await stage.until_async(partial(stage.outside.count, INTAKE_QUEUE), len(large) + 1)


async def test_a_lane_that_is_gone_loses_nothing(stage: Scene, backlog: Backlog) -> None:
    await backlog.lane.delete(if_empty=False, if_unused=False)
    await backlog.publish(*[b"%d" % each for each in range(MESSAGES)])
    with capture_logs() as logged:
        async with backlog.sorted():
            await stage.until(lambda: logged, what="given up")
            async with asyncio.timeout(5):  # the copies that come back do not hold up what else the connection reads
                await (await backlog.connection.channel()).close()
            await stage.until_async(partial(stage.outside.count, INTAKE_QUEUE), MESSAGES)
    assert [line["event"] for line in logged] == ["sorting_abandoned"]
    assert backlog.settled == []
    assert not backlog.connection.is_closed


async def test_a_lane_that_refuses_keeps_the_message_on_the_intake(stage: Scene, backlog: Backlog) -> None:
    await backlog.lane.delete(if_empty=False, if_unused=False)
    arguments: FieldTable = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    async with await backlog.connection.channel() as channel:
        full = await channel.declare_queue(LANE, durable=True, arguments=arguments)
        await full.bind(LANE_EXCHANGE, f"#.{LANE}")
    await backlog.publish(*[b"%d" % each for each in range(MESSAGES)])

    async def missing() -> int:  # an acknowledgement that was not written any more leaves a message in both queues
        return max(0, MESSAGES - len(backlog.settled) - await stage.outside.count(INTAKE_QUEUE))

    with capture_logs() as logged:
        async with backlog.sorted():
            await stage.until(lambda: logged, what="given up")
            await stage.until_async(missing, 0)
    assert len(backlog.settled) < MESSAGES
