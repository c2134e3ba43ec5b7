"""`python -m sandbox up`: what it prints can be typed as it is."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from sandbox.worker import ROOT
from tests.scene import Scene, unique

READY_WITHIN_S = 30.0
LAST_LINE = "/_sandbox/requests"


@asynccontextmanager
async def sandbox_up(stage: Scene) -> AsyncIterator[str]:
    """Run it on the stage's servers; gives what it printed."""
    environment = os.environ | {
        "RABBITMQ_URL": stage.url,
        "RABBITMQ_MANAGEMENT_URL": stage.world.rabbitmq.management_url,
        "REDIS_URL": stage.world.redis.url,
    }
    command = (sys.executable, "-m", "sandbox", "up")
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            printed = (await process.stdout.readuntil(LAST_LINE.encode())).decode()
        yield printed
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


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
    async with sandbox_up(stage) as printed:
        publish, look = re.findall(r"^curl .*?(?=\n\n|\Z)", printed, re.MULTILINE | re.DOTALL)
        internal_id = unique("id")  # the run's Redis may know the printed one
        assert await typed(publish.replace("order-4711", internal_id)) == '{"routed":true}'
        variables = dict(re.findall(r"^export (\w+)=(\S+)$", printed, re.MULTILINE))
        await stage.start_worker("up", **variables)
        async with httpx.AsyncClient(base_url=look.removeprefix("curl ").removesuffix(LAST_LINE)) as simulator:

            async def accepted() -> int:
                return int((await simulator.get("/_sandbox/summary")).json()["accepted"])

            await stage.until_async(accepted, 1)
        assert "+16505551234" in await typed(look)
