"""Looks and hand-backs: however often a message comes back to its queue, it is still there."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from stream.broker.declaration import FIRST_MAJOR_WITH_LIMIT, major_version
from stream.contract.queues import DEAD_LETTER_QUEUE, INTAKE_QUEUE, QueueKind
from tests.integration.test_dead_letter_looks import command
from tests.scene import Scene, management, number

LOOKS = 100
PAGE = Path(__file__).parents[2] / "docs" / "upgrade.md"


async def _reject(message: AbstractIncomingMessage) -> None:
    await message.reject(requeue=True)


async def _nack(message: AbstractIncomingMessage) -> None:
    await message.nack(requeue=True)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
@pytest.mark.parametrize("queue", [DEAD_LETTER_QUEUE, INTAKE_QUEUE])
@pytest.mark.parametrize("give_back", [_reject, _nack])
async def test_a_message_survives_a_hundred_looks(
    stage: Scene, kind: QueueKind, queue: str, give_back: Callable[[AbstractIncomingMessage], Awaitable[None]]
) -> None:
    await stage.declare(kind)
    async with await aio_pika.connect(stage.url) as connection:
        channel = await connection.channel()
        letters = await channel.get_queue(queue)
        await channel.default_exchange.publish(aio_pika.Message(b"{}", delivery_mode=2), queue)
        for _ in range(LOOKS):
            await give_back(await _get(letters))
        assert (await _get(letters)).body == b"{}"


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_dead_letter_survives_thirty_connections_that_close_over_it(stage: Scene, kind: QueueKind) -> None:
    await stage.declare(kind)
    for look in range(31):  # a RabbitMQ with a limit takes a message off at 21; the last look finds it still there
        async with await aio_pika.connect(stage.url) as connection:
            channel = await connection.channel()
            if look == 0:
                await channel.default_exchange.publish(aio_pika.Message(b"{}", delivery_mode=2), DEAD_LETTER_QUEUE)
            assert (await _get(await channel.get_queue(DEAD_LETTER_QUEUE))).body == b"{}"


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_a_dead_letter_survives_looks_through_the_management_page(stage: Scene, kind: QueueKind) -> None:
    await stage.start_worker(RABBITMQ_QUEUE_TYPE=kind)
    await stage.publish(number("99910131047"))
    vhost = stage.url.rsplit("/", 1)[1]
    look = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    async with management(stage.world) as api:
        path, seen = f"/api/queues/{vhost}/{DEAD_LETTER_QUEUE}/get", 0
        async with asyncio.timeout(60):
            while seen < 30:
                seen += len((await api.post(path, json=look)).raise_for_status().json())


async def _get(queue: AbstractQueue) -> AbstractIncomingMessage:
    async with asyncio.timeout(10):
        while (found := await queue.get(fail=False)) is None:  # noqa: ASYNC110 - it is on its way back
            await asyncio.sleep(0.01)
    return found


async def test_no_look_brings_letters_to_the_limit_of_a_queue_from_before_rabbitmq_4(stage: Scene) -> None:
    await stage.declare("quorum")
    async with await aio_pika.connect(stage.url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(DEAD_LETTER_QUEUE)
        letters = await channel.declare_queue(DEAD_LETTER_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"{}", delivery_mode=2), DEAD_LETTER_QUEUE)
        assert connection.transport
        if major_version(connection.transport.connection.server_properties) < FIRST_MAJOR_WITH_LIMIT:
            pytest.skip("this RabbitMQ drops no letter that comes back")
        for _ in range(10):
            await _reject(await _get(letters))
    code, _, err = await command(stage, "dead-letters", "groups")
    assert (code, err.split(" when ")[0]) == (1, "RabbitMQ drops the letters of outbound-failed")
    assert await stage.outside.count(DEAD_LETTER_QUEUE) == 1
    await set_policy(stage)
    async with await aio_pika.connect(stage.url) as connection:
        letters = await (await connection.channel()).get_queue(DEAD_LETTER_QUEUE)
        for _ in range(20):
            await _reject(await _get(letters))
    code, out, _ = await command(stage, "dead-letters", "groups")
    assert (code, out[:4]) == (0, "1 x ")


async def set_policy(stage: Scene) -> None:
    """Do what `docs/upgrade.md` says, and wait until RabbitMQ says that the queue obeys."""
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("rabbitmqctl set_policy")]
    name, pattern, definition = shlex.split(line)[4:7]
    vhost = stage.url.rsplit("/", 1)[1]
    async with management(stage.world) as api:
        policy = {"pattern": pattern, "definition": json.loads(definition), "apply-to": "queues"}
        (await api.put(f"/api/policies/{vhost}/{name}", json=policy)).raise_for_status()
        async with asyncio.timeout(20):
            path = f"/api/queues/{vhost}/{DEAD_LETTER_QUEUE}"
            while (await api.get(path)).json().get("policy") != name:  # noqa: ASYNC110 - RabbitMQ does not tell
                await asyncio.sleep(0.1)
