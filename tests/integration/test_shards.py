"""Two shards of one vhost, bound as `docs/scaling.md` says, with one Redis."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from sandbox.worker import WorkerProcess
from tests.integration.test_dead_letter_looks import command
from tests.scene import Scene, management, number, unique

SCALING = Path(__file__).parents[2] / "docs" / "scaling.md"
SHARDS = ("outbound-a", "outbound-b")
TENANTS = [f"tenant-{letter}" for letter in "abcdef"]
PLAIN, FAILS_ONCE, SLOW, UNPAID_AT_FIRST = "1650555", "99931500", "999400200", "999210131042"


@pytest.fixture
async def shards(stage: Scene) -> list[WorkerProcess]:
    """A worker for each shard, and their bindings."""
    # One message in two seconds for a recipient, and few slots: messages come by every queue of their shard.
    stage.settings |= {"RABBITMQ_PREFETCH": "2", "PAIR_INTERVAL_MS": "2000", "PAIR_BURST": "1"}
    started = await asyncio.gather(*(stage.start_worker(INTAKE_QUEUE=intake) for intake in SHARDS))
    (bindings,) = re.findall(r"```json\n(.*?)```", SCALING.read_text(), re.DOTALL)
    async with management(stage.world) as api:
        exchange_types = (await api.get("/api/overview")).json()["exchange_types"]
        if "x-consistent-hash" not in {each["name"] for each in exchange_types}:
            pytest.skip("this RabbitMQ has no rabbitmq_consistent_hash_exchange enabled")
        answer = await api.post(f"/api/definitions/{stage.url.rsplit('/', 1)[1]}", json=json.loads(bindings))
        answer.raise_for_status()
    return started


def tenants_of(worker: WorkerProcess, event: str) -> list[str]:
    return [line["tenantId"] for line in worker.lines() if line.get("event") == event]


async def divided(stage: Scene, shards: list[WorkerProcess], event: str, count: int) -> list[set[str]]:
    """The tenants of each shard's log lines of an event, once there are so many lines."""
    await stage.until(lambda: sum(len(tenants_of(worker, event)) for worker in shards) == count, 20)
    return [set(tenants_of(worker, event)) for worker in shards]


async def test_each_message_is_sent_once_by_its_tenants_shard_whichever_queue_it_comes_by(
    stage: Scene, shards: list[WorkerProcess]
) -> None:
    noisy, paced = unique("noisy"), number()
    sent = [(number(prefix), tenant) for prefix in (PLAIN, FAILS_ONCE) for tenant in TENANTS]
    sent += [(paced, TENANTS[0])] * 2 + [(number(SLOW), noisy) for _ in range(24)]
    for to, tenant in sent:
        await stage.publish(to, tenant)
    tenants = await divided(stage, shards, "delivered", len(sent))
    assert all(tenants)
    assert tenants[0].isdisjoint(tenants[1])
    assert stage.accepted_of(to for to, _ in sent) == [1 + (to == paced) for to, _ in sent]
    assert [TENANTS[0] in tenants_of(worker, "waiting_for_pace") for worker in shards] == [
        TENANTS[0] in each for each in tenants
    ]
    for shard, worker, own in zip(SHARDS, shards, tenants, strict=True):
        lanes = [line["lane"] for line in worker.lines() if line.get("event") == "tenant_laned"]
        assert bool(lanes) == (noisy in own)
        assert all(lane.startswith(f"whatsapp-lane-{shard}-") for lane in lanes)


async def test_a_letter_that_is_replayed_goes_back_to_its_shard(stage: Scene, shards: list[WorkerProcess]) -> None:
    for tenant in TENANTS:
        await stage.publish(number(UNPAID_AT_FIRST), tenant)
    died = await divided(stage, shards, "dead_lettered", len(TENANTS))
    code, out, err = await command(stage, "dead-letters", "replay", "--reason", "a test", "--yes", "--json")
    assert code == 0, (out, err)
    assert await divided(stage, shards, "delivered", len(TENANTS)) == died
    assert all(died)
