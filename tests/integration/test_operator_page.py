"""The page `/dead-letters` of a worker on real servers: it shows what lies there, and leaves it as it lies."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import httpx
import pytest

from sandbox.worker import WorkerProcess
from stream.contract.queues import QueueKind
from stream.operations.page.taking import Taking
from stream.redis.client import connect
from stream.redis.link import RedisLink
from tests.integration.test_dead_letter_looks import asked
from tests.integration.test_operator_rights import become
from tests.integration.test_queue_look import KINDS, connected, content
from tests.letters import CAUSES, lay, mixed
from tests.operator_page import TOKEN
from tests.scene import Evidence, Scene, management, number

LETTERS = 300


async def look(worker: WorkerProcess, token: str = TOKEN) -> httpx.Response:
    async with httpx.AsyncClient(timeout=20) as client:
        headers = {"Authorization": f"Bearer {token}"}
        return await client.get(f"http://127.0.0.1:{worker.port}/dead-letters", headers=headers)


async def start(stage: Scene, kind: QueueKind = "classic") -> WorkerProcess:
    Evidence.secrets.add(TOKEN)
    return await stage.start_worker(OPERATOR_TOKEN=TOKEN, RABBITMQ_QUEUE_TYPE=kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_ten_readers_see_every_cause_and_the_letters_lie_as_before(stage: Scene, kind: QueueKind) -> None:
    await stage.declare(kind)
    await lay(stage.url, mixed(LETTERS))
    async with connected(stage.url) as connection:
        before = await content(connection)
    worker = await start(stage, kind)
    answers = await asyncio.gather(*(look(worker) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1  # one look
    for cause in CAUSES:
        assert f"{LETTERS // len(CAUSES)} x {cause.error_type}" in answers[0].text
    assert f"{LETTERS} letters" in answers[0].text
    assert [to for to in Evidence.recipients if to in answers[0].text] == []
    async with connected(stage.url) as connection:
        assert await content(connection) == before


@pytest.mark.any_servers
async def test_a_command_of_the_page_finds_what_the_page_shows(stage: Scene) -> None:
    await stage.declare()
    await lay(stage.url, mixed(10))
    worker = await start(stage)
    text = re.sub("</?span>", "", (await look(worker)).text)
    commands = re.findall("<code>stream dead-letters replay (.*?)</code>", text)
    assert len(commands) == len(CAUSES)
    for command in commands:
        (planned,) = await asked(stage, "replay", *command.split())
        assert planned["wouldReplay"] == 2


async def test_a_worker_delivers_while_its_page_is_read_and_stops_as_fast(stage: Scene) -> None:
    await stage.declare()
    await lay(stage.url, mixed(2_000))
    worker = await start(stage)
    looking = asyncio.create_task(look(worker))
    recipients = [number() for _ in range(50)]
    for to in recipients:
        await stage.publish(to)
    await stage.all_accepted(recipients)
    assert (await looking).status_code == 200
    assert await stage.stop_worker(worker) == 0
    assert await stage.outside.count("outbound-failed") == 2_000


@pytest.mark.any_servers
async def test_another_token_and_no_token_show_nothing(stage: Scene) -> None:
    worker = await start(stage)
    assert (await look(worker, "another-token-of-operators")).status_code == 401
    assert (await look(await stage.start_worker())).status_code == 404


async def test_a_worker_that_may_not_read_dead_letters_says_so_and_shows_the_rest(stage: Scene) -> None:
    await stage.declare()
    await lay(stage.url, mixed(3))
    try:
        await become(stage, "whatsapp-stream-worker", [".*", ".*", "^(?!outbound-failed$).*"])
        stage.settings["RABBITMQ_URL"] = stage.url
        text = (await look(await start(stage))).text
    finally:
        async with management(stage.world) as api:
            await api.delete("/api/users/whatsapp-stream-worker")
    assert "user &#x27;whatsapp-stream-worker&#x27; needs the right to read the queue outbound-failed." in text
    assert "None: no messages wait for a circuit." in text


async def test_a_queue_that_somebody_else_reads_is_left_to_them(stage: Scene) -> None:
    worker = await start(stage)
    async with connected(stage.url) as connection:
        channel = await connection.channel()
        await channel.basic_consume("outbound-failed", _keep, exclusive=True)
        assert "somebody else reads outbound-failed now" in (await look(worker)).text


async def _keep(_: object) -> None:
    pass


@pytest.mark.parametrize(("kind", "read"), [("classic", 50), ("quorum", 0)])
async def test_of_a_long_queue_as_much_is_read_as_leaves_it_in_order(
    stage: Scene, link: RedisLink, kind: QueueKind, read: int
) -> None:
    await stage.declare(kind)
    await lay(stage.url, mixed(LETTERS))
    async with connected(stage.url) as connection:
        before = await content(connection)
    taking = Taking(stage.url, link, timedelta(days=1), whole=lambda: kind == "quorum", most=50)
    for _ in range(5):
        letters = (await taking.take()).letters
        assert (letters.overview.count, letters.lying) == (read, LETTERS)
        assert "reads 50 letters" in letters.sentence
    async with connected(stage.url) as connection:
        await stage.until_async(lambda: stage.outside.count("outbound-failed"), LETTERS)
        assert await content(connection) == before


async def test_without_redis_and_rabbitmq_the_page_is_two_sentences() -> None:
    nowhere = RedisLink(connect("redis://127.0.0.1:1/0"))
    taken = await Taking("amqp://guest:hidden@127.0.0.1:1/", nowhere, timedelta(days=1), whole=lambda: False).take()
    await nowhere.aclose()
    assert taken.letters.sentence.startswith("RabbitMQ cannot be reached")
    assert "hidden" not in taken.letters.sentence
    assert taken.trouble.sentence.startswith("Redis does not answer")
