"""Replicas and RabbitMQ die while lanes, circuits and reservations are full: nothing is lost or stays stuck."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from redis.asyncio import Redis

from sandbox.worker import WorkerProcess
from stream.contract.identifiers import TenantId, hash_tag
from stream.contract.lanes import DEFAULT_LANES, lane_names
from stream.traffic.circuit_script import KEY_PREFIX as CIRCUITS
from tests.chaos.test_outages import rabbitmq_of
from tests.scene import Scene, number, unique

pytestmark = pytest.mark.any_servers  # what RabbitMQ does with full lanes when it dies: test_fairness.py

DEATHS: Final = 10
BACKLOG: Final = 250  # of each tenant
SLOW: Final = "999402000"  # answered after two seconds
PER_SECOND: Final = 10.0


class Troubles:
    """A slow tenant, one that is limited, and one whose token Meta refuses, each with a backlog."""

    def __init__(self, stage: Scene) -> None:
        self.stage = stage
        self.slow, self.limited, self.revoked = unique("slow"), unique("limited"), unique("revoked")
        stage.tenants.rates[self.limited] = PER_SECOND
        stage.graph.revoke(stage.tenants.token(self.revoked))
        self.ids: dict[str, str] = {}  # by recipient

    async def publish(self, count: int) -> None:
        """Publish `count` messages of each, in turn."""
        for _ in range(count):
            for tenant, prefix in ((self.slow, SLOW), (self.limited, "1650555"), (self.revoked, "1650555")):
                to = number(prefix)
                self.ids[to] = await self.stage.publish(to, tenant)

    def accepted(self) -> int:
        """How many were taken, as often as they were taken."""
        return sum(self.stage.accepted_of(self.ids))

    async def are_full(self) -> None:
        """Wait until messages are in lanes and on delay levels, and the circuit is open."""

        async def full() -> bool:
            outside = self.stage.outside
            in_lanes = sum([await outside.count(lane) for lane in lane_names(DEFAULT_LANES)])
            return in_lanes > 0 and await outside.waiting() > 0

        async with asyncio.timeout(30):
            while not await full():  # noqa: ASYNC110 - the state of another process
                await asyncio.sleep(0.05)
        opened = (line for each in self.stage.workers for line in each.lines() if line["event"] == "circuit_opened")
        await self.stage.until(lambda: any(line["id"] == self.revoked for line in opened), 30, "the circuit open")


async def _die_and_come_back(worker: WorkerProcess) -> None:
    await asyncio.to_thread(worker.kill)
    await asyncio.to_thread(worker.start)


async def test_ten_deaths_of_replicas_and_one_of_rabbitmq_lose_nothing_and_leave_nothing_stuck(broken: Scene) -> None:
    workers = [
        await broken.start_worker(META_API_TIMEOUT_MS="3000", CIRCUIT_OPEN_MS="2000", ON_TENANT_FAILURE="hold")
        for _ in range(2)
    ]
    await broken.watch()
    troubles = Troubles(broken)
    await troubles.publish(BACKLOG)
    await troubles.are_full()
    for death in range(DEATHS):
        more = min(troubles.accepted() + 5, 2 * BACKLOG)  # the third tenant's are held
        await broken.until(lambda more=more: troubles.accepted() >= more, 60, "some progress")  # type: ignore[misc]
        if death == DEATHS // 2:
            await asyncio.to_thread(rabbitmq_of(broken).kill)
            await asyncio.to_thread(rabbitmq_of(broken).start)
        await _die_and_come_back(workers[death % 2])
    broken.tenants.rotate(troubles.revoked)
    await broken.all_accepted(list(troubles.ids), 120)
    await broken.settled(60)
    assert broken.letters == []
    said = {
        line["internalId"]
        for worker in workers
        for line in worker.lines()
        if line["event"] == "sending_again_after_unknown_outcome"
    }
    assert {troubles.ids[to] for to in troubles.ids if len(broken.taken(to)) > 1} <= said
    await _is_free(broken, troubles)


async def _is_free(stage: Scene, troubles: Troubles) -> None:
    """No circuit is left, and a new message of each tenant goes at once."""
    async with Redis.from_url(stage.settings["REDIS_URL"]) as redis:
        assert not await redis.exists(CIRCUITS + hash_tag(TenantId(troubles.revoked)))
    for tenant in (troubles.slow, troubles.limited, troubles.revoked):
        to = number()
        await stage.publish(to, tenant)
        await stage.accepted(to, 3)
