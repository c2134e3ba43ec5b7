"""Whether the worker's memory stays flat over many messages."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bench import tables, usage
from bench.measure import Stalled, sent
from bench.rounds import BASE_PREFETCH, TENANTS
from bench.workers import make_worker

if TYPE_CHECKING:
    from bench.stage import Stage

MARKS: Final = (10_000, 25_000, 50_000, 75_000, 100_000)  # messages
PART: Final = 2_500  # messages published at once; the next part is on the queue before the worker has finished one
COLUMNS: Final = ("messages", "resident MiB", "since the first, MiB")


async def run_memory(stage: Stage, within_s: float) -> None:
    """Measure the worker's resident memory at some counts of messages, and print the table.

    It ends at a smaller count, and says so, where it takes longer than `within_s` seconds.
    """
    found = await _measure(stage, within_s)
    first = next(iter(found.values()))
    rows = [[f"{count:,}", f"{mib:.1f}", f"{mib - first:+.1f}"] for count, mib in found.items()]
    print(f"\nMemory over {max(found):,} messages\n\n{tables.table(COLUMNS, rows)}")


async def _measure(stage: Stage, within_s: float) -> dict[int, float]:
    """Resident memory of the worker's process tree in MiB, by the number of messages that it has sent."""
    deadline = time.monotonic() + within_s
    tenants = stage.new_tenants(TENANTS)
    await stage.load.fresh_queues()
    await stage.load.publish(PART, tenants)
    before = stage.graph.requests()
    worker = make_worker("stream", stage.settings(BASE_PREFETCH, stage.graph.url), stage.log("stream"))
    await asyncio.to_thread(worker.start)
    found: dict[int, float] = {}
    try:
        for count in range(PART, MARKS[-1] + 1, PART):
            if count < MARKS[-1]:
                await stage.load.publish(PART, tenants)
            await sent(stage, before + count)
            late = time.monotonic() > deadline
            if count in MARKS or late:
                found[count] = usage.resident_mib(usage.tree(worker.pid))
                print(f"  {count:,} messages: {found[count]:.1f} MiB", flush=True)
            if late and count < MARKS[-1]:
                print(f"  no more than {count:,} of {MARKS[-1]:,} messages: the time is over", flush=True)
                break
    finally:
        await asyncio.to_thread(worker.stop)
    if failed := await stage.load.dead_letters():
        raise Stalled(f"{failed} messages failed")
    return found
