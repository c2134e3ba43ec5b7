"""RabbitMQ crashes, freezes and runs out of memory: what waits survives, and nothing is published a second time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import httpx
from aio_pika.abc import AbstractIncomingMessage

from sandbox.rabbitmq import PrivateRabbitMQ
from sandbox.steps import Accept, Fail
from sandbox.worker import WorkerProcess
from stream.contract import delays
from stream.contract.queues import INTAKE_QUEUE
from tests.scene import Scene, number

WAITING = 3_000
KILLS = 3
AT_ONCE = 200  # publishes that wait for their confirm


def rabbitmq_of(stage: Scene) -> PrivateRabbitMQ:
    assert isinstance(stage.world.rabbitmq, PrivateRabbitMQ)
    return stage.world.rabbitmq


async def test_messages_that_wait_survive_three_crashes_of_rabbitmq(broken: Scene) -> None:
    await broken.declare()
    draw = random.Random()  # another instant each time: no instant may lose anything
    names = [str(each) for each in range(WAITING)]
    await _let_wait(broken, {name: draw.uniform(1, 14) for name in names})
    started = time.monotonic()
    for kill in range(KILLS):
        await asyncio.sleep(max(0.0, started + draw.uniform(kill * 4 + 1, kill * 4 + 4) - time.monotonic()))
        await asyncio.to_thread(rabbitmq_of(broken).kill)
        await asyncio.to_thread(rabbitmq_of(broken).start)
    arrived: set[str] = set()

    async def take(message: AbstractIncomingMessage) -> None:
        arrived.add(str(message.message_id))

    async with await aio_pika.connect(broken.url) as connection:
        channel = await connection.channel()
        await (await channel.get_queue(INTAKE_QUEUE)).consume(take, no_ack=True)
        await broken.until(lambda: len(arrived) == WAITING, 60, "all arrived")


async def _let_wait(stage: Scene, delays_s: dict[str, float]) -> None:
    async with await aio_pika.connect(stage.url) as connection:
        channel = await connection.channel()
        free = asyncio.Semaphore(AT_ONCE)

        async def publish(name: str, delay_s: float) -> None:
            level, key = delays.route(delay_s, INTAKE_QUEUE)
            async with free:
                exchange = await channel.get_exchange(level, ensure=False)
                await exchange.publish(aio_pika.Message(b"{}", message_id=name, delivery_mode=2), key)

        await asyncio.gather(*(publish(*each) for each in delays_s.items()))


async def test_a_frozen_broker_makes_no_send_unknown_and_no_worker_dead(broken: Scene) -> None:
    worker = await broken.start_worker(RABBITMQ_PREFETCH="3", META_API_TIMEOUT_MS="3000", SHUTDOWN_GRACE_MS="4000")
    await broken.watch()
    recipients = [number("999401500") for _ in range(3)]
    ids = [await broken.publish(to) for to in recipients]
    await broken.until(lambda: all(broken.graph.by_recipient(to) for to in recipients))
    await asyncio.to_thread(rabbitmq_of(broken).pause)
    try:
        await broken.all_accepted(recipients)
        await broken.logged(worker, "waiting_for_rabbitmq", seconds=20)
        assert await _status(worker, "/health/live") == 200
        assert await broken.stop_worker(worker) == 0, worker.tail(60)
    finally:
        await asyncio.to_thread(rabbitmq_of(broken).resume)
    line = await broken.logged(worker, "stopped")
    assert (line["unknown"], line["finished"] + line["returned"]) == (0, 3)
    await broken.start_worker()
    await broken.settled(30)
    assert broken.accepted_of(recipients) == [1, 1, 1]
    for internal_id in ids:  # whether the thawed broker took the acknowledgement, or delivered the message again
        await broken.event("outbound.sent.acme", internal_id)


async def _status(worker: WorkerProcess, path: str) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{worker.port}{path}")).status_code


@asynccontextmanager
async def memory_alarm(stage: Scene) -> AsyncIterator[None]:
    ctl = rabbitmq_of(stage).ctl
    await asyncio.to_thread(ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        yield
    finally:
        await asyncio.to_thread(ctl, "set_vm_memory_high_watermark", "absolute", "1GB")


async def test_under_a_memory_alarm_each_thing_is_published_once_and_nothing_is_lost(broken: Scene) -> None:
    await broken.declare()
    await broken.watch()
    sent, waiting, refused = number(), number(), number()
    broken.graph.script(waiting, [Fail(131000), Accept()])
    broken.graph.script(refused, [Fail(131047)])
    ids = {to: await broken.publish(to) for to in (sent, waiting, refused)}
    async with memory_alarm(broken):
        worker = await broken.start_worker()  # RabbitMQ takes nothing more from it after its first publish
        await broken.logged(worker, "event_unconfirmed", seconds=20, internalId=ids[sent])
        assert all(broken.graph.by_recipient(to) for to in ids)
        assert await _status(worker, "/health/live") == 200
    await broken.accepted(waiting, seconds=30)
    await broken.letter(ids[refused], seconds=30)
    for to in (sent, waiting):
        await broken.event("outbound.sent.acme", ids[to])
    await broken.settled(20)
    assert _counted(broken, "outbound.sent.acme", ids[sent]) == 1
    assert _counted(broken, "outbound.alert.acme", ids[refused]) == 1
    assert len(broken.letters_of(ids[refused])) == 1
    assert [len(broken.graph.by_recipient(to)) for to in ids] == [1, 2, 1]
    assert not any(line["event"] in ("event_lost", "left_on_queue") for line in worker.lines())


def _counted(stage: Scene, routing_key: str, internal_id: str) -> int:
    return sum(key == routing_key and body["internalId"] == internal_id for key, body in stage.events)
