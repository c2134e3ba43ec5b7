"""Real RabbitMQ, real Redis, real worker processes; only Meta and the Tenant Service are simulated."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import hypothesis
import pytest
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from cryptography.fernet import Fernet

from sandbox.graph import GraphSimulator
from sandbox.processes import environment_without_proxies
from sandbox.rabbitmq import PrivateRabbitMQ
from sandbox.redis import PrivateRedis
from sandbox.tenants import TenantService
from sandbox.versions import versions
from sandbox.world import VARIABLES, World, open_world
from stream.contract.queues import DEAD_LETTER_QUEUE, INTAKE_QUEUE
from tests.scene import Evidence, Scene
from tests.trouble import forget_trouble

# A slow machine is no failure: what a time limit would catch, a busy core would cause.
hypothesis.settings.register_profile(
    "no-deadline", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("no-deadline")

for name in set(os.environ) - set(environment_without_proxies()):  # every server is on this machine
    del os.environ[name]

SERVICE_TOKEN = "service-token-that-must-stay-secret"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two processes, each on servers of its own; one where the servers are given."""
    return 1 if VARIABLES.values() & os.environ.keys() else 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with tests that run alone come last: until then, no process waits for the other."""
    alone = {item.path for item in items if item.get_closest_marker("alone")}
    items.sort(key=lambda item: item.path in alone)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Print what a process has said: its own output is nowhere."""
    for line in getattr(node, "workeroutput", {}).get("said", ()):
        print(f"\n{line}", end="", flush=True)  # noqa: T201 - a terminal's lines


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line around pytest's capture: the result must show on which servers the tests ran."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if (output := getattr(request.config, "workeroutput", None)) is not None:  # one of several processes
        said: list[str] = output.setdefault("said", [])
        return said.append

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line} ", end="", flush=True)  # noqa: T201 - a terminal's line

    return say


@pytest.fixture(scope="session")
def world(say: Callable[[str], None]) -> Iterator[World]:
    """RabbitMQ and Redis for the whole run; at its end, no secret may have left any worker."""
    with open_world(say=say) as found:
        yield found
        Evidence.check()


@pytest.fixture(scope="session")
def breakable(world: World, say: Callable[[str], None]) -> Iterator[World]:
    """A RabbitMQ and a Redis that a test may stop, kill and freeze."""
    if not (PrivateRabbitMQ.installed() and PrivateRedis.installed()):
        pytest.skip("needs rabbitmq-server and redis-server on this machine: they are stopped and killed")
    folder = world.base_dir / "breakable"
    with PrivateRabbitMQ(folder / "rabbitmq") as rabbitmq, PrivateRedis(folder / "redis", appendonly=True) as redis:
        own = World(rabbitmq, redis, world.base_dir)
        say(f"for tests that break them: {versions(own)}")
        yield own


@pytest.fixture(scope="session")
async def graph() -> AsyncIterator[GraphSimulator]:
    async with GraphSimulator() as simulator:
        yield simulator


@pytest.fixture(scope="session")
async def tenants() -> AsyncIterator[TenantService]:
    async with TenantService(required_token=SERVICE_TOKEN) as service:
        yield service


@pytest.fixture(scope="session")
def settings(world: World, graph: GraphSimulator, tenants: TenantService) -> dict[str, str]:
    """What every worker of the run is started with."""
    return {
        "RABBITMQ_URL": world.rabbitmq.url,
        "REDIS_URL": world.redis.url,
        "TENANT_SERVICE_URL": tenants.url,
        "TENANT_SERVICE_TOKEN": SERVICE_TOKEN,
        "META_API_BASE_URL": graph.url,
        # Tests that are about something else send faster than one number and one recipient may: see test_pacing.py.
        "PHONE_NUMBER_RATE": "0",
        "PAIR_INTERVAL_MS": "0",
        "CREDENTIAL_CACHE_KEYS": Fernet.generate_key().decode(),
    }


@pytest.fixture(scope="session")
async def scene(
    world: World, graph: GraphSimulator, tenants: TenantService, settings: dict[str, str]
) -> AsyncIterator[Scene]:
    """The shared stage: one worker on the contract's own vhost, and a watcher of everything it publishes."""
    async with Scene.on(world, settings, graph, tenants, world.rabbitmq.url) as stage:
        await stage.start_worker("shared")
        await stage.watch()
        yield stage


@pytest.fixture
async def broken(
    breakable: World, graph: GraphSimulator, tenants: TenantService, settings: dict[str, str]
) -> AsyncIterator[Scene]:
    """The test's own vhost, on servers that it may break; they run again afterwards."""
    own = {**settings, "REDIS_URL": breakable.redis.url}
    async with Scene.on_new_vhost(breakable, own, graph, tenants) as stage:
        await _recover(stage)
        forget_trouble(breakable.redis.url)
        yield stage


async def _recover(stage: Scene) -> None:
    """Restart a RabbitMQ on which the delay levels cannot be declared any more.

    RabbitMQ 3.10's dead-lettering stops for ever when a vhost is removed right after a crash, as the test before may
    have done: then each declaration of a quorum queue with at-least-once dead-lettering ends with 541 INTERNAL_ERROR.
    """
    refused = (AMQPError, ChannelInvalidStateError, OSError)
    try:
        await stage.declare()
    except refused:
        assert isinstance(stage.world.rabbitmq, PrivateRabbitMQ)
        await asyncio.to_thread(stage.world.rabbitmq.restart)
        async with asyncio.timeout(60):
            while not await _declared(stage):  # noqa: ASYNC110 - our own connection comes back by itself
                await asyncio.sleep(0.2)
    channel = await stage._connection.channel()
    for queue in (INTAKE_QUEUE, DEAD_LETTER_QUEUE):  # a worker of the test may want them of another type
        await channel.queue_delete(queue)
    await channel.close()


async def _declared(stage: Scene) -> bool:
    with suppress(AMQPError, ChannelInvalidStateError, OSError):
        await stage.declare()
        return True
    return False


@pytest.fixture
async def stage(
    world: World, graph: GraphSimulator, tenants: TenantService, settings: dict[str, str]
) -> AsyncIterator[Scene]:
    """The test's own vhost, with no worker yet."""
    async with Scene.on_new_vhost(world, settings, graph, tenants) as own:
        yield own
