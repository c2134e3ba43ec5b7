"""The express lane on a real broker that closes channels under it: no connection is lost, and no message stays."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from urllib.parse import quote, urlsplit

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelInvalidStateError

from stream.broker.express import ExpressLane
from stream.broker.frames import queue_all_frames
from stream.contract.queues import INTAKE_EXCHANGE, INTAKE_QUEUE
from tests.scene import Scene, management, number

MESSAGES = 200
CLOSES = 3
NO_SUCH_TAG = 10**9


class Consumer:
    """Acknowledges each message through a lane, a moment after it came."""

    def __init__(self, lane: ExpressLane) -> None:
        self._lane = lane
        self._tasks: set[asyncio.Task[None]] = set()
        self.acknowledged: set[str] = set()

    async def take(self, incoming: AbstractIncomingMessage) -> None:
        task = asyncio.create_task(self._settle(incoming))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, incoming: AbstractIncomingMessage) -> None:
        await asyncio.sleep(0.005)  # so that many are in flight when their channel is closed
        with suppress(ChannelInvalidStateError):  # then the broker delivers it again
            self._lane.acknowledge(incoming)
            self.acknowledged.add(str(incoming.message_id))


async def test_a_channel_that_the_broker_closes_under_load_does_not_take_the_connection_with_it(stage: Scene) -> None:
    queue_all_frames()
    await stage.declare()
    lost: list[BaseException | None] = []
    connection = await aio_pika.connect_robust(stage.url, reconnect_interval=0.5)
    connection.close_callbacks.add(lambda _, error: lost.append(error))
    async with connection:
        lane = ExpressLane()
        consumer, channel = Consumer(lane), await connection.channel()
        await channel.set_qos(50)
        await (await channel.get_queue(INTAKE_QUEUE)).consume(consumer.take)
        async with await connection.channel() as publisher:
            for part in range(CLOSES):
                names = [f"{part}-{each}" for each in range(MESSAGES)]
                messages = [aio_pika.Message(b"{}", message_id=name) for name in names]
                await asyncio.gather(*(publisher.default_exchange.publish(each, INTAKE_QUEUE) for each in messages))
                await channel.ready()  # aio-pika does not reopen one that is closed while it is being reopened
                underlay = await channel.get_underlay_channel()
                await underlay.basic_ack(NO_SUCH_TAG, wait=False)  # the broker answers this by closing the channel
                await stage.until(partial(consumer.acknowledged.issuperset, names), 20, "all acknowledged")
        await stage.settled()
        assert lost == []


async def test_events_that_the_broker_refuses_hold_no_message_back(stage: Scene) -> None:
    await stage.declare()
    recipients = [number() for _ in range(MESSAGES)]
    for to in recipients:
        await stage.publish(to)
    await _forbid_events(stage)
    worker = await stage.start_worker(RABBITMQ_PREFETCH="50")
    await stage.all_accepted(recipients)
    await stage.settled(30)
    assert stage.accepted_of(recipients) == [1] * MESSAGES
    assert await stage.stop_worker(worker) == 0
    events = [line["event"] for line in worker.lines()]
    assert events.count("event_lost") == events.count("delivered") == MESSAGES
    assert "rabbitmq_lost" not in events


async def _forbid_events(stage: Scene) -> None:
    vhost, user = urlsplit(stage.url).path.removeprefix("/"), stage.world.rabbitmq.username
    rights = {"exchange": INTAKE_EXCHANGE, "write": "^nothing$", "read": ".*"}
    async with management(stage.world) as api:
        path = f"/api/topic-permissions/{quote(vhost, safe='')}/{quote(user, safe='')}"
        (await api.put(path, json=rights)).raise_for_status()
