"""Rounds of all workers in turn, so that other load on the machine affects all of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
RATIO_COLUMNS: Final = ("compared", "prefetch", "CPU ms/msg", "msg/s")

WorkerCase = tuple[str, int]  # a worker's kind and its prefetch


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a case is measured.

    Attributes:
        messages: In each round, the warm-up not counted.
        rounds: The first so many rounds have this case.
    """

    messages: int
    rounds: int


Results = Mapping[WorkerCase, Sequence[Run]]


async def run_rounds(stage: Stage, cases: Mapping[WorkerCase, Size], within_s: float) -> Results:
    """Measure all cases in rounds, in fewer where they would take longer than `within_s` seconds."""
    results: dict[WorkerCase, list[Run]] = defaultdict(list)
    seconds: dict[WorkerCase, float] = defaultdict(float)  # that each case took when it was last measured
    started, rounds = time.monotonic(), max(size.rounds for size in cases.values())
    for number in range(1, rounds + 1):
        of_round = {case: size for case, size in cases.items() if size.rounds >= number}
        if time.monotonic() - started + sum(seconds[case] for case in of_round) > within_s:
            print(f"  no round {number}: the machine is too slow or too busy for {rounds} in {within_s:.0f} s")
            break
        for (kind, prefetch), size in of_round.items():
            began = time.monotonic()
            tenants = stage.new_tenants(TENANTS)
            run = await measure(stage, kind, prefetch=prefetch, messages=size.messages, tenants=tenants)
            results[kind, prefetch].append(run)
            seconds[kind, prefetch] = time.monotonic() - began
            print(
                f"  round {number}: {kind}, prefetch {prefetch}: {run.rate:.0f} msg/s, {run.cpu_ms:.3f} ms/msg",
                flush=True,
            )
    return results


async def run_latencies(stage: Stage, results: Results, seconds: float) -> None:
    """Measure latency at half of what this worker managed, the same for all, and print the table.

    Half of the floor's own rate would not be below saturation: here the publisher takes its share of the cores too.
    """
    rows = []
    rate = median([run.rate for run in results["stream", BASE_PREFETCH]]) / 2
    for kind, prefetch in latency_cases(results):
        found = await measure_latency(
            stage, kind, prefetch=prefetch, rate=rate, seconds=seconds, tenants=stage.new_tenants(TENANTS)
        )
        if found:
            rows.append(tables.latency_row(kind, prefetch, found))
    print(
        f"\nPublish to Graph API, at half of this worker's load at prefetch {BASE_PREFETCH}\n\n"
        f"{tables.table(LATENCY_COLUMNS, rows)}"
    )


def latency_cases(results: Results) -> list[WorkerCase]:
    """This worker at all its prefetches, the others at the base's."""
    return [case for case in results if case[0] == "stream" or case[1] == BASE_PREFETCH]


def print_results(results: Results) -> None:
    """The table of all cases, and this worker as a multiple of the others."""
    rows = [tables.run_row(kind, prefetch, runs) for (kind, prefetch), runs in results.items()]
    print(f"\nMedian (lowest-highest) of the rounds\n\n{tables.table(tables.RUN_COLUMNS, rows)}")
    ratios = tables.table(RATIO_COLUMNS, ratio_rows(results))
    print(f"\nThis worker as a multiple, round by round\n\n{ratios}")


def ratio_rows(results: Results) -> list[list[str]]:
    """This worker beside each other one, at each prefetch."""
    return [
        [f"stream / {kind}", str(prefetch), *tables.ratio(results["stream", prefetch], runs)]
        for (kind, prefetch), runs in results.items()
        if kind != "stream"
    ]
