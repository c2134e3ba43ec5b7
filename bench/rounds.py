"""Rounds of all workers in turn, so that what else the machine does meets all of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Final

from bench import tables
from bench.latency import measure_latency
from bench.measure import Run, measure

if TYPE_CHECKING:
    from bench.stage import Stage

BASE_PREFETCH: Final = 50
TENANTS: Final = 10
LATENCY_COLUMNS: Final = ("worker", "prefetch", "load msg/s", "p50 ms", "p95 ms", "p99 ms")
RATIO_COLUMNS: Final = ("compared", "CPU ms/msg", "msg/s")

Case = tuple[str, int]  # a worker's kind and its prefetch
Results = Mapping[Case, Sequence[Run]]


async def run_rounds(stage: Stage, cases: Mapping[Case, int], rounds: int, within_s: float) -> Results:
    """Measure each case so many times, or fewer where the rounds would take longer than `within_s` seconds.

    A case's value is its number of messages.
    """
    results: dict[Case, list[Run]] = defaultdict(list)
    started = time.monotonic()
    for number in range(1, rounds + 1):
        took = time.monotonic() - started
        if took * number > within_s * max(number - 1, 1):  # one more like those before
            print(f"  no round {number}: the machine is too slow or too busy for {rounds} in {within_s:.0f} s")
            break
        for (kind, prefetch), messages in cases.items():
            run = await measure(stage, kind, prefetch=prefetch, messages=messages, tenants=stage.new_tenants(TENANTS))
            results[kind, prefetch].append(run)
            print(
                f"  round {number}: {kind}, prefetch {prefetch}: {run.rate:.0f} msg/s, {run.cpu_ms:.3f} ms/msg",
                flush=True,
            )
    return results


async def run_latencies(stage: Stage, results: Results, seconds: float) -> None:
    """Measure each worker's latency at half of what this worker managed, the same for all, and print the table.

    Half of the floor's own rate would not be below saturation: here the publisher takes its share of the cores too.
    """
    rows = []
    rate = median([run.rate for run in results["stream", BASE_PREFETCH]]) / 2
    for kind in dict.fromkeys(kind for kind, _ in results):
        found = await measure_latency(
            stage, kind, prefetch=BASE_PREFETCH, rate=rate, seconds=seconds, tenants=stage.new_tenants(TENANTS)
        )
        if found:
            rows.append(tables.latency_row(kind, BASE_PREFETCH, found))
    print(f"\nPublish to Graph API, at half of this worker's load above\n\n{tables.table(LATENCY_COLUMNS, rows)}")


def print_results(results: Results) -> None:
    """The table of all cases, and this worker as a multiple of the others."""
    rows = [tables.run_row(kind, prefetch, runs) for (kind, prefetch), runs in results.items()]
    print(f"\nMedian (lowest-highest) of the rounds\n\n{tables.table(tables.RUN_COLUMNS, rows)}")
    ours = results["stream", BASE_PREFETCH]
    others = [kind for kind in ("floor", "node") if (kind, BASE_PREFETCH) in results]
    ratios = [(f"stream / {kind}", *tables.ratio(ours, results[kind, BASE_PREFETCH])) for kind in others]
    print(f"\nThis worker as a multiple, round by round\n\n{tables.table(RATIO_COLUMNS, ratios)}")
