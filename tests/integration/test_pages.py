"""Every command line that a page marks `runnable` runs as it stands there, and prints what the page shows."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from sandbox.processes import free_ports
from sandbox.tenants import TenantService
from stream.contract.queues import DEAD_LETTER_QUEUE
from tests.pages import PAGES, ROOT, Block, blocks
from tests.scene import Scene, number, text_message

pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")

START, OPERATE = "docs/start.md", "docs/operate.md"
COMMAND_SECONDS = 30.0
ANYTHING = "…"
END = "--- the end, with exit code "


def test_no_page_marks_what_no_test_runs() -> None:
    assert {page for page in PAGES if any(block.runnable for block in blocks(page))} == {START, OPERATE}


class Shell:
    """One bash for a page, in a folder that looks like this repository.

    Args:
        process: It.
        here: What the page says → what it is here: ports, logins, names that must be new.
    """

    def __init__(self, process: asyncio.subprocess.Process, here: Mapping[str, str]) -> None:
        self._process = process
        self._here = here

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, environment: Mapping[str, str], here: Mapping[str, str]) -> AsyncIterator[Shell]:
        """Start it; at the end, nothing that it started is left."""
        for name in (path.name for path in ROOT.iterdir() if not path.name.startswith(".")):
            (folder / name).symlink_to(ROOT / name)
        (folder / ".venv").symlink_to(sys.prefix)
        path = f"{sys.prefix}/bin:{os.environ['PATH']}"
        pipe, out = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        process = await asyncio.create_subprocess_exec(
            *("bash", "--noprofile", "--norc"),
            cwd=folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
            stdin=pipe,
            stdout=pipe,
            stderr=out,
            start_new_session=True,
        )
        try:
            yield cls(process, here)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def run(self, block: Block, before: Callable[[str], object] = lambda _: None) -> None:
        """Type what is in a block, and compare what comes with what it shows."""
        for command, shown in _commands(self._as_here(block)):
            before(command)
            code, out = await self._typed(command)
            assert code == 0, f"{command}\n{out}"
            if block.kind == "console":
                assert _matches(shown, out), f"{command}\nthe page shows:\n{shown}\nit printed:\n{out}"

    def _as_here(self, block: Block) -> Block:
        text = block.text
        for documented, real in self._here.items():
            text = text.replace(documented, real)
        return Block(block.kind, block.runnable, text)

    async def _typed(self, command: str) -> tuple[int, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho; echo '{END}'$?\n".encode())
        lines = []
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                while not (line := (await self._process.stdout.readline()).decode()).startswith(END):
                    assert line, f"the shell has ended: {command}"
                    lines.append(line)
        except TimeoutError:
            raise AssertionError(f"no end within {COMMAND_SECONDS:g} s: {command}\n{''.join(lines)}") from None
        return int(line.removeprefix(END)), "".join(lines).rstrip("\n")


def _commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a block with what each shows: all of a script at once, those of a console one by one."""
    if block.kind != "console":
        yield block.text, ""
        return
    for each in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = each.partition("\n")
        yield command, shown.rstrip("\n")


def _matches(shown: str, out: str) -> bool:
    lines = (r"(?:.*\n)*?" if line == ANYTHING else f"{_line(line)}\n" for line in shown.splitlines())
    return re.fullmatch("".join(lines), f"{out}\n") is not None


def _line(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split(ANYTHING))


def test_a_page_that_shows_something_else_is_noticed() -> None:
    assert _matches("a … c\n…\nd", "a b c\nx\ny\nd")
    assert _matches("…\nd", "d")
    assert not _matches("a … c", "a b")
    assert not _matches("a", "a\nb")


@pytest.fixture
def here(stage: Scene) -> dict[str, str]:
    """What the pages say, and what it is on the stage."""
    management, login = stage.world.rabbitmq.management_url, stage.world.rabbitmq
    health, tenants = free_ports(2)
    return {
        "http://127.0.0.1:15672/api/exchanges/%2Fwhatsapp": f"{management}/api/exchanges{urlsplit(stage.url).path}",
        "-u whatsapp:whatsapp": f"-u '{login.username}:{login.password}'",
        ":8081": f":{health}",
        "8092": str(tenants),
        "acme": f"acme-{uuid.uuid4().hex[:8]}",
        "order-4711": f"order-{uuid.uuid4().hex[:8]}",
    }


async def test_ten_minutes_lead_to_a_message_of_a_new_tenant(
    stage: Scene, here: dict[str, str], tmp_path: Path
) -> None:
    environment = {
        "RABBITMQ_URL": stage.url,
        "RABBITMQ_MANAGEMENT_URL": stage.world.rabbitmq.management_url,
        "REDIS_URL": stage.world.redis.url,
        "HTTP_PORT": here[":8081"].removeprefix(":"),
    }
    async with Shell.open(tmp_path, environment, here) as shell:
        for block in blocks(START):
            if block.runnable:
                await shell.run(block)
    assert here["acme"] in (tmp_path / "worker.log").read_text()


@pytest.mark.any_servers
async def test_the_symptoms_commands_show_what_the_page_shows(
    stage: Scene, here: dict[str, str], tenants: TenantService, tmp_path: Path
) -> None:
    tenant = here["acme"]
    await stage.start_worker("pages", HTTP_PORT=here[":8081"].removeprefix(":"))
    await _trouble(stage, tenants, tenant, here["order-4711"], tmp_path)

    def before(command: str) -> None:
        if command.startswith("stream cache invalidate"):  # the advice was followed: the tenant has a new token
            tenants.rotate(tenant)

    environment = {"RABBITMQ_URL": stage.url, "REDIS_URL": stage.world.redis.url}
    async with Shell.open(tmp_path, environment, here) as shell:
        for block in blocks(OPERATE):
            if block.runnable:
                await shell.run(block, before)


async def _trouble(stage: Scene, tenants: TenantService, tenant: str, order: str, folder: Path) -> None:
    """A message that is delivered, two that need a template, and five whose token Meta has revoked."""
    good = number()
    await _publish(stage, folder, good, tenant, order)
    await stage.accepted(good)
    for late in range(2):
        await stage.publish(number("99910131047"), tenant, internal_id=f"late-{late}")
    await stage.until_async(lambda: stage.outside.count(DEAD_LETTER_QUEUE), 2)
    stage.graph.revoke(tenants.token(tenant))
    for bill in range(5):
        await _publish(stage, folder, number(), tenant, f"bill-{bill}")
    await stage.until_async(lambda: stage.outside.count(DEAD_LETTER_QUEUE), 7)


async def _publish(stage: Scene, folder: Path, to: str, tenant: str, internal_id: str) -> None:
    """Publish a message, and keep it as a file."""
    message = text_message(to, tenant, internal_id)
    (folder / f"{internal_id}.json").write_bytes(orjson.dumps(message))
    await stage.send(message, tenant)
