"""`python -m sandbox up` and `cluster`: what they print can be typed as it is."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from sandbox.broker import Outside
from sandbox.rabbitmq_cluster import ClusterNode
from sandbox.redis import PrivateRedis
from sandbox.worker import ROOT
from tests.scene import Evidence, Scene, number, text_message, unique

READY_WITHIN_S = 60.0
LAST_LINE = "/_sandbox/requests"


@asynccontextmanager
async def sandbox(*words: str, last_line: str, **environment: str) -> AsyncIterator[str]:
    """Run one of its commands; gives what it printed."""
    command = (sys.executable, "-m", "sandbox", *words)
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            printed = await process.stdout.readuntil(last_line.encode()) + await process.stdout.readline()
        yield printed.decode().strip()
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def exported(printed: str) -> dict[str, Any]:
    """The variables of the lines that begin with `export`."""
    return {name: shlex.split(value)[0] for name, value in re.findall(r"^export (\w+)=(\S+)$", printed, re.MULTILINE)}


async def typed(command: str) -> str:
    """Run a command in a shell."""
    shell = await asyncio.create_subprocess_exec("sh", "-c", command, stdout=asyncio.subprocess.PIPE)
    out, _ = await shell.communicate()
    assert shell.returncode == 0
    return out.decode()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_the_printed_curl_publishes_a_message_that_a_worker_with_the_printed_variables_delivers(
    stage: Scene,
) -> None:
    servers = {
        "RABBITMQ_URL": stage.url,
        "RABBITMQ_MANAGEMENT_URL": stage.world.rabbitmq.management_url,
        "REDIS_URL": stage.world.redis.url,
    }
    async with sandbox("up", last_line=LAST_LINE, **servers) as printed:
        publish, look = re.findall(r"^curl .*?(?=\n\n|\Z)", printed, re.MULTILINE | re.DOTALL)
        internal_id = unique("id")  # the run's Redis may know the printed one
        assert await typed(publish.replace("order-4711", internal_id)) == '{"routed":true}'
        variables = exported(printed)
        await stage.start_worker("up", **variables)
        async with httpx.AsyncClient(base_url=look.removeprefix("curl ").removesuffix(LAST_LINE)) as simulator:

            async def accepted() -> int:
                return int((await simulator.get("/_sandbox/summary")).json()["accepted"])

            await stage.until_async(accepted, 1)
        assert "+16505551234" in await typed(look)


@pytest.mark.any_servers
async def test_a_worker_with_the_variables_that_cluster_prints_delivers_and_knows_a_copy(stage: Scene) -> None:
    if not (ClusterNode.installed() and PrivateRedis.installed()):
        pytest.skip("needs rabbitmq-server and redis-server on this machine: several of each are started")
    async with sandbox("cluster", last_line="export REDIS_URL=") as printed:
        variables = exported(printed)
        Evidence.secrets |= set(re.findall(r"[:=]([\w-]{16,})", printed))
        worker = await stage.start_worker("cluster", **variables)
        to, internal_id = number(), unique("id")
        body = orjson.dumps(text_message(to, "acme", internal_id))
        async with Outside(variables["RABBITMQ_URL"]) as upstream:
            await upstream.publish(body)
            await stage.accepted(to)
            await upstream.publish(body)
            await stage.logged(worker, "duplicate", internalId=internal_id)
        await stage.stop_worker(worker)
