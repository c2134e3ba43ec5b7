"""Real RabbitMQ, real Redis, real worker processes; only Meta and the Tenant Service are simulated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from cryptography.fernet import Fernet

from sandbox.graph import GraphSimulator
from sandbox.tenants import TenantService
from sandbox.world import World, open_world
from tests.integration.scene import Scene

SERVICE_TOKEN = "service-token-that-must-stay-secret"


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with open_world() as found:
        yield found


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
async def stage(
    world: World, graph: GraphSimulator, tenants: TenantService, settings: dict[str, str]
) -> AsyncIterator[Scene]:
    """A vhost of the test's own, with no worker yet."""
    async with Scene.on_new_vhost(world, settings, graph, tenants) as own:
        yield own
