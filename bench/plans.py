"""What each benchmark measures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from bench.capacity import run_capacity
from bench.flatness import Case, run_cases
from bench.memory import run_memory
from bench.replicas import Replicas, run_replicas
from bench.rounds import BASE_PREFETCH, Size, print_results, run_latencies, run_rounds
from bench.workers import node_problem

if TYPE_CHECKING:
    from bench.stage import Stage

QUICK_SIZE: Final = Size(messages=3_000, rounds=2)
QUICK_LATENCY_S: Final = 3.0
QUICK_ROUNDS_WITHIN_S: Final = 30.0

FULL_SIZES: Final = {
    10: Size(messages=3_000, rounds=2),
    BASE_PREFETCH: Size(messages=6_000, rounds=3),
    200: Size(messages=3_000, rounds=2),
}
FULL_LATENCY_S: Final = 4.0
FULL_ROUNDS_WITHIN_S: Final = 140.0
FULL_WITHIN_S: Final = 265.0  # of five minutes; starting and ending the servers takes the rest
FULL_REPLICAS: Final = (Replicas(1, 4_000), Replicas(2, 4_000))

# Replicas that take all they can leave the servers, and each other, too little of two cores; these leave enough.
CAPPED: Final = (Replicas(1, 2_000, share=0.25), Replicas(2, 2_000, share=0.25))

FLAT_MESSAGES: Final = 4_000
MANY_TENANTS: Final = 10_000
LONG_QUEUE: Final = 100_000

SCALE_ROUNDS: Final = 1
CAPACITY_MESSAGES: Final = 4_000
SCALE_REPLICAS: Final = (Replicas(1, 10_000), Replicas(2, 10_000), Replicas(4, 10_000))


async def quick(stage: Stage) -> None:
    """This worker and the floor, in less than a minute."""
    cases = {("floor", BASE_PREFETCH): QUICK_SIZE, ("stream", BASE_PREFETCH): QUICK_SIZE}
    results = await run_rounds(stage, cases, QUICK_ROUNDS_WITHIN_S)
    print_results(results)
    await run_latencies(stage, results, QUICK_LATENCY_S)


async def full(stage: Stage) -> None:
    """This worker, the floor and the Node worker; prefetches, latency, tenants, a long queue, replicas, memory.

    The memory's measurement gets the time that the others leave.
    """
    started = time.monotonic()
    kinds = ["floor", "node", "stream"]
    if problem := node_problem():
        print(f"node: skipped, {problem}")
        kinds.remove("node")
    cases = {(kind, prefetch): size for prefetch, size in FULL_SIZES.items() for kind in kinds}
    results = await run_rounds(stage, cases, FULL_ROUNDS_WITHIN_S)
    print_results(results)
    await run_latencies(stage, results, FULL_LATENCY_S)
    await run_cases(stage, [Case(tenants=MANY_TENANTS), Case(behind=LONG_QUEUE)], FLAT_MESSAGES, rounds=1)
    await run_replicas(stage, [*FULL_REPLICAS, *CAPPED])
    await run_memory(stage, FULL_WITHIN_S - (time.monotonic() - started))


async def scale(stage: Stage) -> None:
    """What the servers use, replicas over one broker, then tenants and the queue's depth."""
    await run_capacity(stage, CAPACITY_MESSAGES)
    await run_replicas(stage, [*SCALE_REPLICAS, *CAPPED])
    few, many, depth = 1_000, MANY_TENANTS, 1_000
    cases = [
        Case(tenants=few),
        Case(tenants=many),
        Case(tenants=many, met=False),
        Case(tenants=many, cached=False, met=False),
        Case(behind=depth),
        Case(behind=LONG_QUEUE),
    ]
    await run_cases(stage, cases, FLAT_MESSAGES, SCALE_ROUNDS)
