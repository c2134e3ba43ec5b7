"""What waits to be written: never in the way of the answer to a close, without which the whole connection is closed."""

from __future__ import annotations

import asyncio

import aiormq
import pytest
from pamqp import commands, frame

from stream.app import build
from stream.broker.frames import queue_all_frames
from stream.settings import Settings
from tests.unit.doubles import turns

MANY = 200
BY_DEFAULT = 10


@pytest.fixture(autouse=True)
def as_aiormq_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiormq.Connection, "FRAME_BUFFER_SIZE", BY_DEFAULT)


async def test_the_brokers_close_of_a_channel_is_answered_however_much_waits_to_be_written() -> None:
    queue_all_frames()
    connection = aiormq.Connection("amqp://localhost")  # not connected: nothing is written
    connection.connection_tune = commands.Connection.Tune(frame_max=131_072)
    channel = aiormq.Channel(connection, 1, publisher_confirms=False)
    acknowledging = [asyncio.create_task(channel.basic_ack(tag, wait=False)) for tag in range(MANY)]
    await turns(3)
    channel.frames.put_nowait((0, commands.Channel.Close(404, "NOT_FOUND - no exchange", 60, 40)))
    await turns(20)
    assert all(each.done() for each in acknowledging)
    queue = connection.write_queue
    waiting = [type(frame.unmarshal(queue.get_nowait().payload)[2]) for _ in range(queue.qsize())]
    assert waiting == [*[commands.Basic.Ack] * MANY, commands.Channel.CloseOk]


def test_a_worker_queues_all_frames() -> None:
    build(Settings(tenant_service_url="http://tenants.invalid"))
    assert aiormq.Connection.FRAME_BUFFER_SIZE == 0
