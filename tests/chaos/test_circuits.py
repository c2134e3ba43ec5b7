"""One tenant's trouble, and Meta's own, across replicas on real servers: who waits, and what it costs."""

from __future__ import annotations

import asyncio

import pytest

from sandbox.worker import WorkerProcess
from tests.scene import Scene, number, unique

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
        """Messages of the other tenant, each taken within a second or so of its publication."""
        for _ in range(count):
            to = number()
            await self.stage.publish(to, self.other)
            await self.stage.accepted(to, seconds=3)

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
        await stage.start_worker(CIRCUIT_OPEN_MS=SECOND, ON_TENANT_FAILURE="hold", RABBITMQ_PREFETCH="4")
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
