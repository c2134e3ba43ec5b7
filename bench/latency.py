"""From publish to the Graph API, below saturation."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.measure import WARM, Stalled, sent
from bench.workers import make_worker

if TYPE_CHECKING:
    from bench.stage import Stage

ARRIVE_WITHIN_S: Final = 30.0
POLL_S: Final = 0.1
PERCENTS: Final = 100


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from just before the publish until the request's first byte is at the Graph API."""

    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


async def measure_latency(
    stage: Stage, kind: str, *, prefetch: int, rate: float, seconds: float, tenants: list[str]
) -> Latency | None:
    """Publish at a rate, in messages a second, to a warm worker; `None` where the Graph API keeps no times."""
    if stage.graph.logging_url is None:
        return None
    await stage.load.fresh_queues()
    await stage.load.publish(WARM, tenants)
    before = stage.graph.requests()
    worker = make_worker(kind, stage.settings(prefetch, stage.graph.logging_url), stage.log(kind))
    await asyncio.to_thread(worker.start)
    try:
        await sent(stage, before + WARM)
        published = await stage.load.publish_steadily(rate, seconds, tenants)
        arrived = await _arrivals(stage, published)
    finally:
        await asyncio.to_thread(worker.stop)
    took = [(arrived[to] - at) * 1000 for to, at in published.items()]
    cuts = statistics.quantiles(took, n=PERCENTS)
    return Latency(rate, cuts[49], cuts[94], cuts[98])


async def _arrivals(stage: Stage, published: dict[str, float]) -> dict[str, float]:
    deadline = time.monotonic() + ARRIVE_WITHIN_S
    while True:
        arrived = stage.graph.arrivals()
        if not (missing := len(published.keys() - arrived.keys())):
            return arrived
        if time.monotonic() > deadline:
            raise Stalled(f"{missing} of {len(published)} messages did not arrive")
        await asyncio.sleep(POLL_S)
