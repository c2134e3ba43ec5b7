"""One tenant's record at the Tenant Service is broken: nobody else notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.scene import Scene, number, unique

pytestmark = pytest.mark.any_servers

HEALTHY_PER_S = 20.0
P95_S = 3.0
IMPATIENT = {"RATE_LIMIT_MAX_RETRIES": "4", "META_API_RETRY_DELAY_MS": "250"}  # a refused message ends in seconds


class Newcomers:
    """Messages of healthy tenants, each of another one: none of their credentials is cached."""

    def __init__(self, stage: Scene) -> None:
        self.stage = stage
        self.ids: dict[str, str] = {}  # by recipient
        self._published: dict[str, float] = {}

    async def publish(self, count: int) -> None:
        """Publish one after the other, at an even pace."""
        for _ in range(count):
            to = number()
            self._published[to] = time.monotonic()
            self.ids[to] = await self.stage.publish(to, unique("healthy"))
            await asyncio.sleep(1 / HEALTHY_PER_S)

    async def all_end(self) -> None:
        """Wait until each is delivered or dead-lettered."""
        await self.stage.until(lambda: all(map(self._ended, self.ids)), 60, "every healthy message ended")

    def _ended(self, to: str) -> bool:
        return bool(self.stage.taken(to) or self.stage.letters_of(self.ids[to]))

    @property
    def dead(self) -> int:
        """How many were dead-lettered."""
        return sum(bool(self.stage.letters_of(internal_id)) for internal_id in self.ids.values())

    @property
    def p95_s(self) -> float:
        """Within which 95 of 100 were accepted, in seconds."""
        took = sorted(self.stage.taken(to)[0].received_at - at for to, at in self._published.items())
        return took[int(len(took) * 0.95)]


@asynccontextmanager
async def messages_of(stage: Scene, *tenants: str, every_s: float) -> AsyncIterator[None]:
    """Publish a message of the next of these tenants again and again."""

    async def publish() -> None:
        while True:
            for tenant in tenants:
                await stage.publish(number(), tenant)
                await asyncio.sleep(every_s)

    publishing = asyncio.create_task(publish())
    try:
        yield
        assert not publishing.done()
    finally:
        publishing.cancel()


@pytest.mark.parametrize(
    ("records", "every_s", "healthy"),
    [(["broken"], 0.1, 120), (["hanging"], 1.0, 180), (["hanging", "broken"] * 30, 0.25, 180)],
    ids=["one answers 500", "one hangs", "sixty do"],
)
async def test_broken_records_neither_dead_letter_nor_delay_other_tenants(
    stage: Scene, records: list[str], every_s: float, healthy: int
) -> None:
    await stage.start_worker(**IMPATIENT)  # type: ignore[arg-type]
    await stage.watch()
    newcomers = Newcomers(stage)
    async with messages_of(stage, *map(unique, records), every_s=every_s):
        await newcomers.publish(healthy)
        await newcomers.all_end()
    assert newcomers.dead == 0
    assert newcomers.p95_s < P95_S
