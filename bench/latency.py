"""From publish to the Graph API, below saturation."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.measure import WARM, Stalled
from bench.workers import make_worker

if TYPE_CHECKING:
    from collections.abc import Collection

    from bench.stage import Stage

ARRIVE_WITHIN_S: Final = 30.0
POLL_S: Final = 0.1
SETTLE_S: Final = 0.5  # until the warm-up's last sends are recorded, reported and acknowledged
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
    warm = await stage.load.publish(WARM, tenants)
    worker = make_worker(kind, stage.settings(prefetch, stage.graph.logging_url), stage.log(kind))
    await asyncio.to_thread(worker.start)
    try:
        await _arrivals(stage, warm)
        await asyncio.sleep(SETTLE_S)
        published = await stage.load.publish_steadily(rate, seconds, tenants)
        arrived = await _arrivals(stage, published)
    finally:
        await asyncio.to_thread(worker.stop)
    took = [(arrived[to] - at) * 1000 for to, at in published.items()]
    cuts = statistics.quantiles(took, n=PERCENTS)
    return Latency(rate, cuts[49], cuts[94], cuts[98])


async def _arrivals(stage: Stage, recipients: Collection[str]) -> dict[str, float]:
    """When these recipients' messages, and earlier ones, were at the Graph API, once all are there.

    The server's own count of requests would not do: it has two a message here, as the one that logs asks the other.
    """
    deadline = time.monotonic() + ARRIVE_WITHIN_S
    while True:
        arrived = stage.graph.arrivals()
        if not (missing := len(set(recipients) - arrived.keys())):
            return arrived
        if time.monotonic() > deadline:
            raise Stalled(f"{missing} of {len(recipients)} messages did not arrive within {ARRIVE_WITHIN_S:g} s")
        await asyncio.sleep(POLL_S)
