"""What the demo and the tour play on: a world with both simulators, a worker, and clients beside it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.broker import Outside
from sandbox.graph import GraphSimulator
from sandbox.operator import Operator
from sandbox.tenants import TenantService
from sandbox.unused import check_unused
from sandbox.worker import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sandbox.world import World


@dataclass(frozen=True)
class Stage:
    """Everything, running.

    Attributes:
        graph: Meta, simulated.
        tenants: The Tenant Service, simulated.
        worker: The worker.
        outside: A client of RabbitMQ.
        operator: Somebody who types `stream` commands.
    """

    graph: GraphSimulator
    tenants: TenantService
    worker: WorkerProcess
    outside: Outside
    operator: Operator


@asynccontextmanager
async def open_stage(world: World) -> AsyncIterator[Stage]:
    """Start it all on a world's servers.

    Raises:
        WorldError: Somebody uses its RabbitMQ: nothing was started.
    """
    await check_unused(world.rabbitmq.url)
    async with AsyncExitStack() as stack:
        graph = await stack.enter_async_context(GraphSimulator())
        tenants = await stack.enter_async_context(TenantService())
        servers = {"RABBITMQ_URL": world.rabbitmq.url, "REDIS_URL": world.redis.url}
        services = {"TENANT_SERVICE_URL": tenants.url, "META_API_BASE_URL": graph.url}
        worker = WorkerProcess(servers | services, world.base_dir / "worker.log")
        stack.callback(worker.kill)
        await asyncio.to_thread(worker.start)
        print(f"worker: faststream run stream.app:app, ready on port {worker.port}")
        outside = await stack.enter_async_context(Outside(world.rabbitmq.url))
        yield Stage(graph, tenants, worker, outside, Operator(servers))
