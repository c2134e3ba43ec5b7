"""Several replicas over one broker: what they do together, and how evenly."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import tables, usage
from bench.measure import Stalled, sent
from bench.rounds import BASE_PREFETCH, TENANTS
from bench.workers import StreamWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.stage import Stage

WARM: Final = 500  # a replica
COUNTED_WITHIN_S: Final = 10.0  # the last messages are counted once they are acknowledged, after the Graph API's count
POLL_S: Final = 0.1
COLUMNS: Final = (
    "replicas",
    "msg/s",
    "msg/s, 1 = 1",
    "CPU ms/msg",
    "machine busy %",
    "messages each",
    "fetches",
    "Redis commands/msg",
)


@dataclass(frozen=True, slots=True)
class Together:
    """What some replicas did with one backlog.

    Attributes:
        rate: Messages a second, all replicas together.
        cpu_ms: CPU time a message, all replicas together, in milliseconds.
        shares: Messages delivered by each replica, by its own metrics, the warm-up not counted.
        fetches: Requests to the Tenant Service, the warm-up counted.
        redis_commands: Redis' commands a message.
        machine: The share of all cores' time that was used by whatever ran on the machine, from 0 to 1.
    """

    rate: float
    cpu_ms: float
    shares: list[int]
    fetches: int
    redis_commands: float
    machine: float


async def run_replicas(stage: Stage, counts: Sequence[int], messages: int) -> None:
    """Measure each number of replicas, one first, and print the table."""
    rows, one = [], 0.0
    for count in counts:
        tenants = stage.new_tenants(TENANTS)
        found = await measure_replicas(stage, count, prefetch=BASE_PREFETCH, messages=messages, tenants=tenants)
        one = one or found.rate
        rows.append(
            [
                str(count),
                f"{found.rate:.0f}",
                f"{found.rate / one:.2f}",
                f"{found.cpu_ms:.3f}",
                f"{found.machine:.0%}",
                ", ".join(map(str, found.shares)),
                f"{found.fetches} for {TENANTS} tenants",
                f"{found.redis_commands:.2f}",
            ]
        )
        print(f"  replicas: {count}: {found.rate:.0f} msg/s, {found.cpu_ms:.3f} ms/msg", flush=True)
    print(f"\n{messages:,} messages each\n\n{tables.table(COLUMNS, rows)}")


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
        redis, cpu_ms, machine_ms = stage.redis.counts(), usage.cpu_ms(pids), usage.machine_ms()
        started = time.monotonic()
        for replica in replicas:
            replica.resume()
        await sent(stage, before + WARM * count + messages)
        took, machine_ms = time.monotonic() - started, usage.machine_ms() - machine_ms
        cpu_ms, redis = usage.cpu_ms(pids) - cpu_ms, stage.redis.counts() - redis
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
        machine=usage.machine_share(machine_ms, took),
    )


async def _delivered(replicas: list[StreamWorker], total: int) -> list[int]:
    """What each replica has delivered, once that is so many together."""
    deadline = time.monotonic() + COUNTED_WITHIN_S
    while sum(counts := [replica.delivered() for replica in replicas]) != total:
        if time.monotonic() > deadline:
            raise Stalled(f"the replicas count {sum(counts)} delivered messages, the Graph API {total}")
        await asyncio.sleep(POLL_S)
    return counts
