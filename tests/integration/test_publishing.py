"""How to publish, as the document and the site show it: each program runs here as it is printed, but for an id."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit, urlunsplit

import aio_pika
import pytest

from asyncapi.build import ROOT
from stream.contract.queues import INTAKE_EXCHANGE
from stream.specification.publishing import CURL, NODE, PYTHON, SAMPLES, Sample
from tests.contract import contract, problems
from tests.scene import Scene, management, unique

PACKAGES = ROOT / "check"
"""Where `make asyncapi-check` puts the Node packages."""

COMMANDS = {
    PYTHON: [sys.executable, "-"],
    NODE: ["node", "--input-type=module", "-"],
    CURL: ["sh", "-s"],
}
NEEDS = {
    PYTHON: (True, ""),
    NODE: (
        shutil.which("node") is not None and (PACKAGES / "node_modules/amqplib").is_dir(),
        "needs node, and amqplib: make asyncapi-check",
    ),
    CURL: (shutil.which("curl") is not None, "needs curl"),
}
PRINTED_ID = "order-4711"
MANAGEMENT_URL = "http://localhost:15672"


@pytest.fixture
async def publisher(scene: Scene) -> AsyncIterator[str]:
    """The URL of a user who may write to the intake's exchange, and nothing else."""
    user, password = unique("publisher"), unique("password")
    vhost = scene.url.rsplit("/", 1)[1]
    rights = {"configure": "^$", "write": f"^{INTAKE_EXCHANGE}$", "read": "^$"}
    async with management(scene.world) as api:
        (await api.put(f"/api/users/{user}", json={"password": password, "tags": ""})).raise_for_status()
        (await api.put(f"/api/permissions/{vhost}/{user}", json=rights)).raise_for_status()
        yield _as(scene.url, user, password)
        (await api.delete(f"/api/users/{user}")).raise_for_status()


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.language)
async def test_a_sample_publishes_what_is_then_delivered(scene: Scene, publisher: str, sample: Sample) -> None:
    assert f"{sample.title}\n{sample.code}" in contract()["info"]["description"]
    internal_id = unique(sample.language)
    assert await _run(scene, sample, sample.code.replace(PRINTED_ID, internal_id), publisher) == 0
    event = await scene.event("outbound.sent.acme", internal_id)
    assert problems("DeliverySent", event) == []


@pytest.mark.parametrize("sample", [PYTHON, NODE], ids=lambda sample: sample.language)
async def test_a_sample_fails_where_no_queue_takes_its_message(stage: Scene, sample: Sample) -> None:
    async with await aio_pika.connect(stage.url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(INTAKE_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    assert await _run(stage, sample, sample.code, stage.url) == 1


async def _run(scene: Scene, sample: Sample, code: str, url: str) -> int:
    """The exit code of a sample's program."""
    is_there, needs = NEEDS[sample]
    if not is_there:
        pytest.skip(needs)
    rabbitmq = scene.world.rabbitmq
    process = await asyncio.create_subprocess_exec(
        *COMMANDS[sample],
        cwd=PACKAGES,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={
            **os.environ,
            "RABBITMQ_URL": url,
            "RABBITMQ_USER": rabbitmq.username,
            "RABBITMQ_PASSWORD": rabbitmq.password,
        },
    )
    await process.communicate(code.replace(MANAGEMENT_URL, rabbitmq.management_url).encode())
    return process.returncode or 0


def _as(url: str, user: str, password: str) -> str:
    """The same URL for another user."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    return urlunsplit(urlsplit(url)._replace(netloc=f"{quote(user)}:{password}@{host}"))
