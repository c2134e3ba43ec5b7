"""What each benchmark measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.rounds import BASE_PREFETCH, print_results, run_latencies, run_rounds

if TYPE_CHECKING:
    from bench.stage import Stage

QUICK_MESSAGES: Final = 3_000
QUICK_ROUNDS: Final = 2
QUICK_LATENCY_S: Final = 3.0


async def quick(stage: Stage) -> None:
    """This worker and the floor, under a minute."""
    cases = {("floor", BASE_PREFETCH): QUICK_MESSAGES, ("stream", BASE_PREFETCH): QUICK_MESSAGES}
    results = await run_rounds(stage, cases, QUICK_ROUNDS)
    print_results(results)
    await run_latencies(stage, results, QUICK_LATENCY_S)


async def full(stage: Stage) -> None:
    """All."""
    await quick(stage)


async def scale(stage: Stage) -> None:
    """All."""
    await quick(stage)
