from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
import structlog
from redis.asyncio import Redis

from stream.contract.identifiers import TenantId
from stream.redis.link import RedisLink
from stream.retry import RetryHandler
from stream.tenants.cache import LEASE_PREFIX
from stream.tenants.client import ATTEMPTS, TenantServiceClient
from stream.tenants.credentials import CredentialError, Credentials, TenantNotFound, TenantServiceUnavailable
from stream.tenants.ownership import NumberOwnership
from stream.tenants.provider import CredentialProvider
from stream.tenants.refusals import Refusals
from stream.tenants.struggles import SEVERAL
from tests.unit.doubles import Clock, FakeRedis, credential_cache, turns

ACME, OTHER = TenantId("acme"), TenantId("other")


class FakeClient(TenantServiceClient):
    """A Tenant Service that answers when it is let, and counts."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.longest_fetch_s = 21.0
        self.let = asyncio.Event()
        self.let.set()
        self.end = asyncio.Event()
        self.asked: list[str] = []
        self.attempts: list[int] = []
        self.error: CredentialError | None = None
        self.broken: dict[str, CredentialError | None] = {}  # None: no answer at all

    async def fetch(self, tenant_id: TenantId, attempts: int = ATTEMPTS) -> Credentials:
        self.asked.append(tenant_id)
        self.attempts.append(attempts)
        number = len(self.asked)
        await self.let.wait()
        if tenant_id in self.broken:
            await self.fail(self.broken[tenant_id])
        if self.error is not None:
            raise self.error
        return Credentials(tenant_id, f"token-{number}", cached_at=self.clock.now, ttl_ms=900_000)

    async def fail(self, error: CredentialError | None) -> None:
        if error is not None:
            raise error
        await self.end.wait()


class World:
    """One Redis, one Tenant Service, any number of replicas."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.redis = FakeRedis(self.clock)
        self.client = FakeClient(self.clock)
        self.stored: list[tuple[TenantId, str]] = []

    def replica(self, patience_s: float = 5, *, places: int = 200, refusal_ttl_ms: int = 0) -> CredentialProvider:
        link = RedisLink(cast("Redis", self.redis), clock=self.clock)
        return CredentialProvider(
            credential_cache(self.redis, self.clock),
            self.client,
            NumberOwnership("warn"),
            Refusals(link, ttl_ms=refusal_ttl_ms),
            on_stored=self._note_stored,
            places=places,
            patience_s=patience_s,
            short_patience_s=0.01,
            retry=RetryHandler(draw=lambda: 0.0),
            clock=self.clock,
        )

    async def _note_stored(self, tenant_id: TenantId, token: str) -> None:
        self.stored.append((tenant_id, token))

    def leases(self) -> set[str]:
        """Where somebody fetches."""
        return {key for key in self.redis.entries if key.startswith(LEASE_PREFIX)}

    async def refused(self, provider: CredentialProvider, *tenants: str) -> list[str]:
        """Ask for these one after the other; returns what each was refused with."""
        reasons = []
        for tenant in tenants:
            with pytest.raises(TenantServiceUnavailable) as caught:
                await provider.get(TenantId(tenant))
            reasons.append(str(caught.value))
        return reasons


pytestmark = pytest.mark.usefixtures("lines")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    own = World()
    yield own
    own.client.let.set()
    own.client.end.set()
    await turns()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.tenants.provider.POLL_S", 0)


async def test_a_fetch_serves_until_it_is_forgotten(world: World) -> None:
    provider = world.replica()
    assert [(await provider.get(ACME)).access_token for _ in range(3)] == ["token-1"] * 3
    await provider.forget(ACME, "token-1")
    assert (await provider.get(ACME)).access_token == "token-2"


async def test_forgetting_a_token_that_was_replaced_keeps_the_new_one(world: World) -> None:
    provider = world.replica()
    await provider.get(ACME)
    await provider.forget(ACME, "token-0")
    assert (await provider.get(ACME)).access_token == "token-1"


async def test_concurrent_callers_of_a_tenant_share_one_fetch(world: World) -> None:
    provider = world.replica()
    tokens = await asyncio.gather(*(provider.get(ACME) for _ in range(100)))
    assert {credentials.access_token for credentials in tokens} == {"token-1"}
    assert world.client.asked == ["acme"]


async def test_two_tenants_are_fetched_apart(world: World) -> None:
    provider = world.replica()
    first, second = await asyncio.gather(provider.get(ACME), provider.get(OTHER))
    assert sorted(world.client.asked) == ["acme", "other"]
    assert (first.tenant_id, second.tenant_id) == (ACME, OTHER)


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_a_caller_that_is_cancelled_takes_the_fetch_from_nobody(world: World, cancelled: int) -> None:
    provider = world.replica()
    world.client.let.clear()
    callers = [asyncio.create_task(provider.get(ACME)) for _ in range(3)]
    await turns()
    callers.pop(cancelled).cancel()
    await turns()
    world.client.let.set()
    tokens = await asyncio.gather(*callers)
    assert [credentials.access_token for credentials in tokens] == ["token-1"] * 2
    assert world.client.asked == ["acme"]


async def test_a_fetch_that_nobody_waits_for_any_more_still_fills_the_cache(world: World) -> None:
    provider = world.replica()
    world.client.let.clear()
    caller = asyncio.create_task(provider.get(ACME))
    await turns()
    caller.cancel()
    await turns()
    world.client.let.set()
    await turns()
    assert (await world.replica().get(ACME)).access_token == "token-1"
    assert world.client.asked == ["acme"]


@pytest.mark.parametrize("error", [TenantNotFound("404"), TenantServiceUnavailable("503")], ids=repr)
async def test_a_failure_is_shared_by_all_that_waited_and_by_nobody_later(world: World, error: CredentialError) -> None:
    provider = world.replica()
    world.client.error = error
    failures = await asyncio.gather(*(provider.get(ACME) for _ in range(10)), return_exceptions=True)
    assert failures == [error] * 10
    assert world.client.asked == ["acme"]
    world.client.error = None
    world.clock.now += 1
    assert (await provider.get(ACME)).access_token == "token-2"


async def test_one_replica_fetches_and_the_others_take_what_it_stored(world: World) -> None:
    world.client.let.clear()
    replicas = [asyncio.create_task(world.replica().get(ACME)) for _ in range(5)]
    await turns()
    assert world.client.asked == ["acme"]
    world.client.let.set()
    tokens = await asyncio.gather(*replicas)
    assert {credentials.access_token for credentials in tokens} == {"token-1"}
    assert world.client.asked == ["acme"]


async def test_the_lease_is_given_back_after_success_and_after_failure(world: World) -> None:
    await world.replica().get(ACME)
    world.client.error = TenantNotFound("404")
    with pytest.raises(TenantNotFound):
        await world.replica().get(OTHER)
    assert world.leases() == set()


async def test_when_the_leader_fails_the_next_replica_tries_for_itself(world: World) -> None:
    world.client.let.clear()
    world.client.error = TenantServiceUnavailable("503")
    replicas = [asyncio.create_task(world.replica().get(ACME)) for _ in range(3)]
    await turns()
    world.client.let.set()
    failures = await asyncio.gather(*replicas, return_exceptions=True)
    assert [type(failure) for failure in failures] == [TenantServiceUnavailable] * 3
    assert len(world.client.asked) == 3


async def test_a_leader_that_died_delays_the_others_no_longer_than_its_lease(world: World) -> None:
    dead = credential_cache(world.redis, world.clock)
    await dead.lease(ACME, "dead", 21_000)
    waiting = asyncio.create_task(world.replica().get(ACME))
    await turns()
    assert not waiting.done()
    world.clock.now += 21
    assert (await waiting).access_token == "token-1"


async def test_without_redis_each_replica_fetches_once_and_remembers(world: World) -> None:
    world.redis.go_away()
    provider = world.replica()
    tokens = await asyncio.gather(*(provider.get(ACME) for _ in range(10)))
    assert {credentials.access_token for credentials in tokens} == {"token-1"}
    assert (await provider.get(ACME)).access_token == "token-1"
    assert world.client.asked == ["acme"]


async def test_redis_that_goes_away_while_a_fetch_is_waited_for_does_not_hang_anybody(world: World) -> None:
    dead = credential_cache(world.redis, world.clock)
    await dead.lease(ACME, "dead", 60_000)
    waiting = asyncio.create_task(world.replica().get(ACME))
    await turns()
    world.redis.go_away()
    assert (await waiting).access_token == "token-1"


async def test_a_message_waits_only_a_moment_and_the_fetch_goes_on_without_it(world: World) -> None:
    provider = world.replica(patience_s=0.01)
    world.client.let.clear()
    with pytest.raises(TenantServiceUnavailable):
        await provider.get(ACME)
    world.client.let.set()
    await turns()
    assert (await provider.get(ACME)).access_token == "token-1"
    assert world.client.asked == ["acme"]


async def test_a_broken_record_keeps_no_other_tenant_waiting(world: World) -> None:
    world.client.broken = {"broken": TenantServiceUnavailable("HTTP 500"), "hanging": None}
    provider = world.replica(patience_s=0.01)
    for healthy in map(str, range(20)):
        await world.refused(provider, "broken", "hanging")
        assert (await provider.get(TenantId(healthy))).tenant_id == healthy


async def test_a_record_that_failed_is_asked_again_after_a_pause_and_told_of_until_then(world: World) -> None:
    world.client.broken = {"acme": TenantServiceUnavailable("HTTP 500")}
    provider = world.replica()
    for pause in (1, 2, 4):
        assert await world.refused(provider, "acme") == ["HTTP 500"]
        world.clock.now += pause - 0.1
        assert await world.refused(provider, "acme") == ["HTTP 500; it is asked again in a moment"]
        world.clock.now += 0.1
    assert world.client.attempts == [ATTEMPTS, 1, 1]
    world.client.broken.clear()
    assert (await provider.get(ACME)).tenant_id == ACME


async def test_a_message_waits_from_the_start_of_a_fetch_and_not_from_its_own(world: World) -> None:
    world.client.let.clear()
    provider = world.replica(patience_s=60)
    first = asyncio.create_task(provider.get(ACME))
    await turns()
    world.clock.now += 60
    async with asyncio.timeout(1):
        await world.refused(provider, "acme")
    first.cancel()


async def test_while_half_of_the_places_wait_for_fetches_further_messages_wait_shortly(world: World) -> None:
    world.client.let.clear()
    provider = world.replica(patience_s=60, places=4)
    patient = [asyncio.create_task(provider.get(tenant)) for tenant in (ACME, OTHER)]
    await turns()
    async with asyncio.timeout(1):
        await world.refused(provider, "third", "fourth")
    assert not any(task.done() for task in patient)
    world.client.let.set()
    await asyncio.gather(*patient)
    assert (await provider.get(TenantId("third"))).access_token == "token-3"  # its fetch went on


async def test_fetches_that_no_message_waits_for_are_bounded_and_the_oldest_makes_room(world: World) -> None:
    world.client.broken = dict.fromkeys(("first", "second", "third"))
    provider = world.replica(patience_s=0.01, places=2)
    await world.refused(provider, "first", "second")
    before = world.leases()
    await provider.get(ACME)
    await world.refused(provider, "third")
    await turns()
    assert (len(before), len(world.leases()), len(world.leases() - before)) == (2, 2, 1)
    assert await world.refused(provider, "first") == [
        "no answer, and its fetch was cancelled for another; it is asked again in a moment"
    ]


async def test_while_the_service_itself_struggles_one_fetch_finds_out_and_the_others_wait_on_the_broker(
    world: World,
) -> None:
    provider = world.replica(patience_s=0.01)
    world.client.let.clear()
    several = [f"tenant-{number}" for number in range(SEVERAL)]
    await world.refused(provider, *several)
    provider._patience_s = 30.0  # from now on no load ends the wait of the one before its time
    with structlog.testing.capture_logs() as lines:
        finding = asyncio.create_task(provider.get(ACME))
        await turns()
        (reason,) = await world.refused(provider, "other")
        assert "another fetch is testing it" in reason
        world.client.let.set()
        await finding
    assert [line["event"] for line in lines] == ["tenant_service_back"]
    assert (await provider.get(OTHER)).tenant_id == OTHER


@pytest.mark.parametrize("record", [TenantServiceUnavailable("HTTP 500"), None], ids=["they fail", "they hang"])
async def test_broken_records_alone_refuse_none_of_a_burst_of_healthy_tenants(
    world: World, record: CredentialError | None
) -> None:
    several = [f"broken-{number}" for number in range(SEVERAL)]
    world.client.broken = dict.fromkeys(several, record)
    provider = world.replica(patience_s=0.01)
    await world.refused(provider, *several)
    provider._patience_s = provider._short_patience_s = 30.0  # from now on no load ends a wait before its time
    healthy = [TenantId(f"healthy-{number}") for number in range(20)]
    found = await asyncio.gather(*map(provider.get, healthy))
    assert [credentials.tenant_id for credentials in found] == healthy
