"""Several replicas over one broker: what they do together, and how evenly."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import usage
from bench.measure import Stalled, sent
from bench.workers import StreamWorker

if TYPE_CHECKING:
    from bench.stage import Stage

WARM: Final = 500  # a replica
COUNTED_WITHIN_S: Final = 10.0  # the last messages are counted once they are acknowledged, after the Graph API's count
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Together:
    """What some replicas did with one backlog.

    Attributes:
        rate: Messages a second, all replicas together.
        cpu_ms: CPU time a message, all replicas together, in milliseconds.
        shares: Messages delivered by each replica, by its own metrics, the warm-up not counted.
        fetches: Requests to the Tenant Service, the warm-up counted.
        redis_commands: Redis' commands a message.
    """

    rate: float
    cpu_ms: float
    shares: list[int]
    fetches: int
    redis_commands: float


async def measure_replicas(stage: Stage, count: int, *, prefetch: int, messages: int, tenants: list[str]) -> Together:
    """Freeze warm replicas, fill the queue, let all go at once, and measure until it is empty."""
    await stage.load.fresh_queues()
    settings = stage.settings(prefetch, stage.graph.url)
    replicas = [StreamWorker(settings, stage.log(f"replica-{number}")) for number in range(count)]
    fetches = stage.tenants.fetches()
    try:
        for replica in replicas:
            await asyncio.to_thread(replica.start)
        before = stage.graph.requests()
        await stage.load.publish(WARM * count, tenants)
        await sent(stage, before + WARM * count)
        warm = await _delivered(replicas, WARM * count)
        pids = [pid for replica in replicas for pid in usage.tree(replica.pid)]
        for replica in replicas:
            replica.pause()
        await stage.load.publish(messages, tenants)
        redis, cpu_ms, started = stage.redis.counts(), usage.cpu_ms(pids), time.monotonic()
        for replica in replicas:
            replica.resume()
        await sent(stage, before + WARM * count + messages)
        took, cpu_ms, redis = time.monotonic() - started, usage.cpu_ms(pids) - cpu_ms, stage.redis.counts() - redis
        delivered = await _delivered(replicas, WARM * count + messages)
    finally:
        for replica in replicas:
            await asyncio.to_thread(replica.stop)
    return Together(
        rate=messages / took,
        cpu_ms=cpu_ms / messages,
        shares=[after - first for after, first in zip(delivered, warm, strict=True)],
        fetches=stage.tenants.fetches() - fetches,
        redis_commands=redis.commands / messages,
    )


async def _delivered(replicas: list[StreamWorker], total: int) -> list[int]:
    """What each replica has delivered, once that is so many together."""
    deadline = time.monotonic() + COUNTED_WITHIN_S
    while sum(counts := [replica.delivered() for replica in replicas]) != total:
        if time.monotonic() > deadline:
            raise Stalled(f"the replicas count {sum(counts)} delivered messages, the Graph API {total}")
        await asyncio.sleep(POLL_S)
    return counts
