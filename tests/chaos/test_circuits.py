"""One tenant's trouble, and Meta's own, across replicas on real servers: who waits, and what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from sandbox.steps import Fail
from sandbox.worker import WorkerProcess
from stream.traffic.platform import KEY as PLATFORM_KEY
from tests.scene import Scene, number, unique

pytestmark = pytest.mark.any_servers  # what Redis does for circuits: tests/integration/test_circuits.py

BACKLOG = 500
SECOND = "1000"  # CIRCUIT_OPEN_MS, at its least: a test need not wait a minute


class Revoked:
    """A tenant with a backlog whose token Meta refuses, and another tenant whose messages flow."""

    def __init__(self, stage: Scene, backlog: int = BACKLOG) -> None:
        self.stage = stage
        self.tenant, self.other = unique("revoked"), unique("healthy")
        self.token = stage.tenants.token(self.tenant)
        stage.graph.revoke(self.token)
        self.recipients = [number() for _ in range(backlog)]
        self.ids: dict[str, str] = {}

    async def publish(self) -> None:
        for to in self.recipients:
            self.ids[to] = await self.stage.publish(to, self.tenant)

    async def others_flow(self, count: int) -> None:
        """Messages of the other tenant, each taken within seconds of its publication."""
        for _ in range(count):
            to = number()
            await self.stage.publish(to, self.other)
            await self.stage.accepted(to, seconds=5)

    @property
    def refused(self) -> int:
        """Requests with the refused token."""
        return sum(request.token == self.token for request in self.stage.graph.requests)

    @property
    def letters(self) -> list[str]:
        return [to for to in self.recipients if self.stage.letters_of(self.ids[to])]


async def test_a_revoked_token_costs_its_tenant_no_message_and_others_nothing_where_messages_are_held(
    stage: Scene,
) -> None:
    workers = [
        # What is in flight when the circuit opens is refused too; after that only a probe, after 3 and after 9 s.
        await stage.start_worker(CIRCUIT_OPEN_MS="3000", ON_TENANT_FAILURE="hold", RABBITMQ_PREFETCH="4")
        for _ in range(2)
    ]
    await stage.watch()
    scene = Revoked(stage)
    await scene.publish()
    await scene.others_flow(20)
    await stage.until(lambda: scene.refused, what="the token refused")
    assert stage.tenants.fetches[scene.tenant] <= 3
    stage.tenants.rotate(scene.tenant)
    await stage.all_accepted(scene.recipients, seconds=60)
    assert scene.refused <= 10
    assert scene.letters == []
    assert set(stage.accepted_of(scene.recipients)) == {1}
    await stage.settled()
    opened = [line for worker in workers for line in worker.lines() if line["event"] == "circuit_opened"]
    closed = [line for worker in workers for line in worker.lines() if line["event"] == "circuit_closed"]
    assert {(line["scope"], line["id"], line["reason"]) for line in (*opened, *closed)} == {
        ("tenant", scene.tenant, "AUTH_ERROR")
    }
    assert len(closed) == 1
    events = {line["event"] for worker in workers for line in worker.lines()}
    assert "sending_again_after_unknown_outcome" not in events


async def test_a_revoked_token_costs_the_messages_that_met_it_where_they_are_dead_lettered(stage: Scene) -> None:
    await stage.start_worker(CIRCUIT_OPEN_MS=SECOND)
    await stage.watch()
    scene = Revoked(stage)
    await scene.publish()
    await scene.others_flow(5)
    stage.tenants.rotate(scene.tenant)

    def ended() -> bool:
        return all(stage.taken(to) or stage.letters_of(scene.ids[to]) for to in scene.recipients)

    await stage.until(ended, seconds=60)
    assert 0 < len(scene.letters) <= 5 + 10 + 4  # to open it, in flight, and its probes
    await stage.settled()


@pytest.mark.parametrize("tenant", ["missing", "suspended", "notoken"])
async def test_a_tenant_without_credentials_is_asked_for_once_a_period(stage: Scene, tenant: str) -> None:
    await stage.start_worker(CIRCUIT_OPEN_MS="60000", CREDENTIAL_REFUSAL_TTL_MS="60000", ON_TENANT_FAILURE="hold")
    name = unique(tenant)
    for _ in range(100):
        await stage.publish(number(), name)
    await stage.settled_to(waiting=100, seconds=20)
    assert stage.tenants.fetches[name] == 1
    assert stage.graph.requests == [] or all(name not in request.token for request in stage.graph.requests)


async def test_a_replica_that_dies_while_it_probes_leaves_the_circuit_to_another(stage: Scene) -> None:
    async def start() -> WorkerProcess:
        return await stage.start_worker(CIRCUIT_OPEN_MS=SECOND, META_API_TIMEOUT_MS="1000", ON_TENANT_FAILURE="hold")

    first = await start()
    tenant = unique("probed")
    old = stage.tenants.token(tenant)
    stage.graph.revoke(old)
    probe = number("999420000")  # Meta takes 20 s to answer
    await stage.publish(probe, tenant)
    await stage.logged(first, "circuit_opened")
    stage.tenants.rotate(tenant)
    await stage.until(lambda: len(stage.graph.by_recipient(probe)) >= 2, what="a probe with the new token")
    await asyncio.to_thread(first.kill)
    await start()
    to = number()
    await stage.publish(to, tenant)
    await stage.accepted(to, seconds=30)


@pytest.fixture
async def outage(stage: Scene) -> AsyncIterator[Scene]:
    """A stage whose Meta may fail for everybody; the platform's circuit, which all stages share, is closed again."""
    redis = Redis.from_url(stage.world.redis.url)
    await redis.delete(PLATFORM_KEY)
    yield stage
    stage.graph.outage = None
    await redis.delete(PLATFORM_KEY)
    await redis.aclose()


async def test_an_outage_of_meta_is_one_circuit_with_one_probe_a_period_and_ends_within_seconds(outage: Scene) -> None:
    stage = outage
    workers = [await stage.start_worker(CIRCUIT_OPEN_MS=SECOND, RABBITMQ_PREFETCH="5") for _ in range(3)]
    await stage.watch()
    tenants = [unique("outage") for _ in range(6)]
    stage.graph.outage = Fail(131000, http_status=500)
    recipients = [number() for _ in range(120)]
    ids = {to: await stage.publish(to, tenants[place % 6]) for place, to in enumerate(recipients)}

    def lines(event: str) -> list[dict[str, object]]:
        return [line for worker in workers for line in worker.lines() if line.get("event") == event]

    await stage.until(lambda: lines("circuit_opened"), what="the platform's circuit open")
    await asyncio.sleep(1.5)  # what was in flight has ended, and every replica has looked
    met = {request.recipient for request in stage.graph.requests}
    before = len(stage.graph.requests)
    await stage.until(lambda: len(lines("circuit_half_open")) == 2, what="the second probe")  # the next one 4 s later
    await stage.until(lambda: len(lines("circuit_opened")) == 3, what="its failure")
    assert len(stage.graph.requests) - before <= 2
    stage.graph.outage = None
    await stage.until(lambda: lines("circuit_closed"), 20, "the platform's circuit closed")
    closed = time.monotonic()
    await stage.all_accepted([to for to in recipients if not stage.letters_of(ids[to])], seconds=10)
    assert time.monotonic() - closed < 10
    assert {to for to in recipients if stage.letters_of(ids[to])} <= met
    opened = [(line["scope"], line["id"]) for line in lines("circuit_opened")]
    assert set(opened) == {("platform", "meta")}
    assert len(opened) == 1 + len(lines("circuit_half_open")) - len(lines("circuit_closed"))
    assert len(lines("circuit_closed")) == 1
    alerts = [event for _, event in stage.events if event.get("circuit") == "open"]
    assert len(alerts) == len(opened)
    await stage.settled()


async def test_a_tenant_whose_requests_fail_alone_has_a_circuit_of_its_own(outage: Scene) -> None:
    worker = await outage.start_worker(META_API_MAX_RETRIES="0")
    alone = unique("alone")
    for _ in range(3):
        await outage.publish(number("99939500"), alone)
        to = number()
        await outage.publish(to, unique("fine"))
        await outage.accepted(to)
    for _ in range(6):
        await outage.publish(number("99939500"), alone)
    line = await outage.logged(worker, "circuit_opened")
    assert (line["scope"], line["id"], line["reason"]) == ("tenant", alone, "META_SERVER_ERROR")
    to = number()
    await outage.publish(to, unique("fine"))
    await outage.accepted(to)
