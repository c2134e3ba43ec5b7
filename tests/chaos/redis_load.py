"""Messages published at a steady rate while Redis fails, and what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.chaos.load import RATE, SETTLED_WITHIN_S, THROTTLED, WAITING
from tests.scene import Scene, number, unique

REPLICAS = 3
BACK_WITHIN_S = 10.0
TENANTS = 12


class Load:
    """Messages of several tenants, published steadily.

    Args:
        stage: Where.
    """

    def __init__(self, stage: Scene) -> None:
        self._stage = stage
        self.tenants = [unique("failover") for _ in range(TENANTS)]
        self.published: dict[str, tuple[str, str]] = {}  # recipient → tenant and internal id
        self.over = False

    async def publish(self) -> None:
        while not self.over:
            await self.publish_one(self.tenants[len(self.published) % TENANTS])
            await asyncio.sleep(1 / RATE)

    async def publish_one(self, tenant: str, prefix: str = "1650555") -> None:
        to = number(prefix)
        self.published[to] = (tenant, await self._stage.publish(to, tenant))

    async def let_many_wait(self) -> None:
        """Publish messages that Meta throttles once until `WAITING` are on the delay levels."""
        await asyncio.gather(*(self.publish_one(self.tenants[each % TENANTS], THROTTLED) for each in range(WAITING)))
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while await self._stage.outside.waiting() < WAITING * 0.9:  # noqa: ASYNC110 - on a server
                await asyncio.sleep(0.1)

    async def ended_well(self) -> None:
        """Each message was sent once and announced once, with no doubt about it."""
        await self._stage.all_accepted(list(self.published))
        assert set(self._stage.accepted_of(self.published)) == {1}
        await self._stage.until(lambda: len(self._announced()) >= len(self.published), 20, "all announced")
        assert sorted(self._announced()) == sorted(internal_id for _, internal_id in self.published.values())
        assert not self._stage.letters
        await self._stage.settled()

    async def are_known(self, tenants: set[str]) -> None:
        """A message of each of these tenants that was sent before is recognised."""
        some = {tenant: (to, internal_id) for to, (tenant, internal_id) in self.published.items() if tenant in tenants}
        for tenant, (to, internal_id) in some.items():
            await self._stage.publish(to, tenant, internal_id=internal_id)
        ids = {internal_id for _, internal_id in some.values()}
        await self._stage.until(lambda: ids <= self._duplicates(), what="all recognised")

    async def copies_sent(self) -> int:
        """Publish a copy of each message; how many of them were sent too, because the ledger did not know the first."""
        for to, (tenant, internal_id) in self.published.items():
            await self._stage.publish(to, tenant, internal_id=internal_id)

        def sent() -> int:
            return sum(count > 1 for count in self._stage.accepted_of(self.published))

        await self._stage.until(
            lambda: sent() + len(self._duplicates()) >= len(self.published), SETTLED_WITHIN_S, "all copies known"
        )
        return sent()

    def _duplicates(self) -> set[str]:
        lines = [line for worker in self._stage.workers for line in worker.lines()]
        return {line["internalId"] for line in lines if line["event"] == "duplicate"}

    def _announced(self) -> list[str]:
        return [body["internalId"] for key, body in self._stage.events if key.startswith("outbound.sent")]


@asynccontextmanager
async def loaded(stage: Scene, *redis_urls: str, many_wait: bool = False) -> AsyncIterator[Load]:
    """A replica for each URL under load, for a second at least before and after."""
    await asyncio.gather(*(stage.start_worker(REDIS_URL=url, RABBITMQ_PREFETCH="50") for url in redis_urls))
    await stage.watch()
    load = Load(stage)
    if many_wait:
        await load.let_many_wait()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.publish())
        await asyncio.sleep(1)
        yield load
        await asyncio.sleep(1)
        load.over = True


async def unrecorded(stage: Scene) -> float:
    """How many messages the replicas say they have sent without a record in the ledger."""
    return sum([(await stage.metrics(worker))["messages_unrecorded_total"] for worker in stage.workers])
