"""Steady load during failures: three replicas, ten tenants, a mix of messages, a kill, a deploy, two restarts.

Ends with a table counted at the Graph simulator and on the queues. Lost messages, and messages that were sent twice
without a report, must be 0.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from sandbox.broker import Outside
from sandbox.graph import GraphSimulator
from sandbox.rabbitmq import PrivateRabbitMQ
from sandbox.redis import PrivateRedis
from sandbox.soak_load import (
    SETTLE_WITHIN_S,
    Result,
    Tally,
    body_of,
    count,
    environment,
    memory,
    publish,
    publish_steadily,
    report,
    resident_kib,
    settle,
    tenant_of,
    told_in_logs,
)
from sandbox.tenants import TenantService
from sandbox.worker import WorkerError, WorkerProcess

if TYPE_CHECKING:
    from sandbox.world import World

REPLICAS = 3
REDIS_MARGIN_S = 2.0  # a worker notices that Redis is back within a second
WAITING_AT_KILL = 500  # messages on the delay levels when RabbitMQ is killed, at least
THROTTLED = "99967"  # refused once for the rate, so they wait for ten seconds
FIRST_THROTTLED = 5_000_000  # their numbers; higher than those of all other messages


async def run_soak(world: World, seconds: float, rate: float) -> Result:
    """Run the soak on private servers in the world's folder."""
    folder = world.base_dir / "soak"
    tally = Tally()
    async with AsyncExitStack() as stack:
        rabbitmq = stack.enter_context(PrivateRabbitMQ(folder / "rabbitmq"))
        redis = stack.enter_context(PrivateRedis(folder / "redis", appendonly=True))
        graph = await stack.enter_async_context(GraphSimulator())
        tenants = await stack.enter_async_context(TenantService())
        settings = environment(rabbitmq.url, redis.url, graph, tenants)
        workers = [WorkerProcess(settings, folder / f"worker-{number}.log") for number in range(REPLICAS)]
        for worker in workers:
            stack.callback(worker.kill)
            await asyncio.to_thread(worker.start)
        outside = await stack.enter_async_context(Outside(rabbitmq.url))
        start = [resident_kib(worker) for worker in workers]
        breaking = asyncio.create_task(_break_things(workers, rabbitmq, redis, outside, seconds, tally))
        await publish_steadily(outside, tally, seconds, rate)
        await breaking
        await settle(outside, graph, tally)
        result = count(graph.accepted, tally, told_in_logs(workers))
        report([*result.rows(), *_waits(graph, tally), memory(start, workers)])
        for worker in workers:
            await asyncio.to_thread(worker.stop)
    return result


async def _break_things(
    workers: list[WorkerProcess],
    rabbitmq: PrivateRabbitMQ,
    redis: PrivateRedis,
    outside: Outside,
    seconds: float,
    tally: Tally,
) -> None:
    """One SIGKILL, one SIGTERM, one Redis restart and one crash of RabbitMQ, spread over the run."""
    pause = seconds / 5
    await asyncio.sleep(pause)
    print("  SIGKILL of a replica")
    await asyncio.to_thread(workers[0].kill)
    await asyncio.to_thread(workers[0].start)
    await asyncio.sleep(pause)
    print("  SIGTERM of a replica")
    await asyncio.to_thread(workers[1].stop)
    await asyncio.to_thread(workers[1].start)
    await asyncio.sleep(pause / 2)
    print("  Redis restarts")
    away = time.monotonic()
    await asyncio.to_thread(redis.restart)
    tally.redis_away.append((away - REDIS_MARGIN_S, time.monotonic() + REDIS_MARGIN_S))
    await asyncio.sleep(pause / 2)
    print(f"  RabbitMQ dies and comes back, with {await _let_many_wait(outside, tally)} messages waiting")
    await asyncio.to_thread(rabbitmq.kill)
    await asyncio.to_thread(rabbitmq.start)


async def _let_many_wait(outside: Outside, tally: Tally) -> int:
    """Publish messages that are throttled until at least `WAITING_AT_KILL` wait; returns how many do."""
    number, deadline = FIRST_THROTTLED, time.monotonic() + SETTLE_WITHIN_S
    while (waiting := await outside.waiting()) < WAITING_AT_KILL:
        if time.monotonic() > deadline:
            raise WorkerError(f"only {waiting} messages wait, of {WAITING_AT_KILL}")
        for _ in range(WAITING_AT_KILL // 10):
            tenant, to = tenant_of(number), f"{THROTTLED}{number}"
            await publish(outside, tally, tenant, to, body_of(number, tenant, to, "text", {"body": "x"}))
            number += 1
    return waiting


def _waits(graph: GraphSimulator, tally: Tally) -> list[tuple[str, object]]:
    first: dict[str, float] = {}
    for request in graph.accepted:
        first.setdefault(request.recipient, request.received_at)
    waits = sorted(at - tally.published[to] for to, at in first.items() if not to.startswith("999"))
    return [
        (f"publish to Graph, p{percent}", f"{waits[int(len(waits) * percent / 100) - 1] * 1000:.0f} ms")
        for percent in (50, 95, 99)
    ]
