"""Several replicas over one broker: what they do together, and how evenly."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import tables, usage
from bench.limits import Limits, limit_problem
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
    "cores each",
    "msg/s",
    "msg/s, 1 = 1",
    "CPU ms/msg",
    "machine busy %",
    "messages each",
    "fetches",
    "Redis commands/msg",
)


@dataclass(frozen=True, slots=True)
class Replicas:
    """Some replicas on one backlog.

    Attributes:
        count: How many.
        messages: The backlog, for all of them together.
        share: What each may use of one core, from 0 to 1; `None`: as much as there is.
    """

    count: int
    messages: int
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Together:
    """What some replicas did with one backlog.

    Attributes:
        rate: Messages a second, all replicas together.
        cpu_ms: CPU time a message, all replicas together, in milliseconds.
        shares: Messages delivered by each replica, by its own metrics, the warm-up not counted.
        fetches: Requests to the Tenant Service, the warm-up counted.
        redis_commands: Redis' commands a message.
        machine: The share of all cores' time that was used by everything on the machine, from 0 to 1.
    """

    rate: float
    cpu_ms: float
    shares: list[int]
    fetches: int
    redis_commands: float
    machine: float


async def run_replicas(stage: Stage, cases: Sequence[Replicas]) -> None:
    """Measure the cases, for each share of a core the one with one replica first, and print the table.

    Cases with a share are left out, and a line says so, where it cannot be enforced.
    """
    if problem := limit_problem():
        print(f"  replicas with a share of a core each: skipped, {problem}")
        cases = [case for case in cases if case.share is None]
    rows, one = [], dict[float | None, float]()
    for case in cases:
        found = await measure_replicas(stage, case, prefetch=BASE_PREFETCH, tenants=stage.new_tenants(TENANTS))
        rows.append(_row(case, found, one.setdefault(case.share, found.rate)))
        print(
            f"  replicas: {case.count}, cores each: {_share(case)}: {found.rate:.0f} msg/s, {found.cpu_ms:.3f} ms/msg",
            flush=True,
        )
    print(f"\nReplicas on one queue\n\n{tables.table(COLUMNS, rows)}")


def _share(case: Replicas) -> str:
    return "no limit" if case.share is None else f"{case.share:g}"


def _row(case: Replicas, found: Together, one: float) -> list[str]:
    """One case; `one` is what one replica with the same share of a core did, in messages a second."""
    return [
        str(case.count),
        _share(case),
        f"{found.rate:.0f}",
        f"{found.rate / one:.2f}",
        f"{found.cpu_ms:.3f}",
        f"{found.machine:.0%}",
        ", ".join(map(str, found.shares)),
        f"{found.fetches} for {TENANTS} tenants",
        f"{found.redis_commands:.2f}",
    ]


async def measure_replicas(stage: Stage, case: Replicas, *, prefetch: int, tenants: list[str]) -> Together:
    """Start replicas and end them; between, measure what they do."""
    await stage.load.fresh_queues()
    settings = stage.settings(prefetch, stage.graph.url)
    replicas = [StreamWorker(settings, stage.log(f"replica-{number}")) for number in range(case.count)]
    with Limits() as limits:
        try:
            for replica in replicas:
                await asyncio.to_thread(replica.start)
            return await _measure(stage, replicas, case, tenants, limits)
        finally:
            for replica in replicas:
                await asyncio.to_thread(replica.stop)


async def _measure(
    stage: Stage, replicas: list[StreamWorker], case: Replicas, tenants: list[str], limits: Limits
) -> Together:
    """Freeze warm replicas, limit them, fill the queue, continue all at once, and measure until it is empty."""
    before, fetches, warm_up = stage.graph.requests(), stage.tenants.fetches(), WARM * case.count
    await stage.load.publish(warm_up, tenants)
    await sent(stage, before + warm_up)
    warm = await _delivered(replicas, warm_up)
    trees = [usage.tree(replica.pid) for replica in replicas]
    pids = [pid for tree in trees for pid in tree]
    for replica, tree in zip(replicas, trees, strict=True):
        replica.pause()
        if case.share is not None:
            limits.limit(tree, case.share)
    await stage.load.publish(case.messages, tenants)
    redis, cpu_ms, machine_ms = stage.redis.counts(), usage.cpu_ms(pids), usage.machine_ms()
    started = time.monotonic()
    for replica in replicas:
        replica.resume()
    await sent(stage, before + warm_up + case.messages)
    took, machine_ms = time.monotonic() - started, usage.machine_ms() - machine_ms
    cpu_ms, redis = usage.cpu_ms(pids) - cpu_ms, stage.redis.counts() - redis
    delivered = await _delivered(replicas, warm_up + case.messages)
    return Together(
        rate=case.messages / took,
        cpu_ms=cpu_ms / case.messages,
        shares=[after - first for after, first in zip(delivered, warm, strict=True)],
        fetches=stage.tenants.fetches() - fetches,
        redis_commands=redis.commands / case.messages,
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
