from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from stream.contract.identifiers import TenantId
from stream.redis.availability import RedisAway
from stream.tenants import cache
from stream.tenants.cache import CredentialCache
from stream.tenants.codec import CredentialCodec
from stream.tenants.credentials import Credentials
from tests.unit.doubles import Clock, FakeRedis, credential_cache

ACME, OTHER = TenantId("acme"), TenantId("other")
TOKEN = "EAAGone"
CODEC = CredentialCodec([Fernet.generate_key().decode()])


class World:
    """One Redis and two replicas."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.redis = FakeRedis(self.clock)
        self.here, self.there = self.replica(), self.replica()

    def replica(self, codec: CredentialCodec = CODEC) -> CredentialCache:
        return credential_cache(self.redis, self.clock, codec)

    def credentials(self, token: str = TOKEN, *, tenant: TenantId = ACME, ttl_ms: int = 900_000) -> Credentials:
        return Credentials(tenant, token, cached_at=self.clock.now, ttl_ms=ttl_ms)


@pytest.fixture
def world() -> World:
    return World()


async def test_what_one_replica_stores_every_replica_gets(world: World) -> None:
    credentials = world.credentials()
    await world.here.set(credentials)
    assert await world.here.get(ACME) == credentials
    assert await world.there.get(ACME) == credentials
    assert await world.there.has(ACME)


async def test_a_tenant_that_was_never_stored_is_not_there(world: World) -> None:
    await world.here.set(world.credentials())
    assert await world.here.get(OTHER) is None
    assert not await world.here.has(OTHER)


async def test_an_entry_ends_with_its_ttl_for_every_replica(world: World) -> None:
    await world.here.set(world.credentials(ttl_ms=1000))
    world.clock.now += 0.9
    assert await world.there.has(ACME)
    world.clock.now += 0.1
    assert not await world.here.has(ACME)
    assert not await world.there.has(ACME)


async def test_the_ttl_is_redis_own(world: World) -> None:
    await world.here.set(world.credentials(ttl_ms=1000))
    ((_, ends),) = world.redis.entries.values()
    assert ends == pytest.approx(world.clock.now + 1)


@pytest.mark.parametrize(("age_s", "expired"), [(0.0, False), (0.999, False), (1.0, True), (60.0, True)])
def test_credentials_expire_when_their_ttl_has_passed(world: World, age_s: float, *, expired: bool) -> None:
    credentials = world.credentials(ttl_ms=1000)
    world.clock.now += age_s
    assert world.here.is_expired(credentials) is expired


async def test_an_entry_that_outlived_its_ttl_in_redis_is_not_used(world: World) -> None:
    await world.here.set(world.credentials(ttl_ms=1000))
    world.redis.entries = {key: (entry, None) for key, (entry, _) in world.redis.entries.items()}
    world.clock.now += 1
    assert await world.here.get(ACME) is None
    assert await world.there.get(ACME) is None


async def test_a_refreshed_entry_is_seen_at_once_by_a_replica_that_remembers_the_old_one(world: World) -> None:
    await world.here.set(world.credentials("EAAGone"))
    await world.there.get(ACME)
    fresh = world.credentials("EAAGtwo")
    await world.here.set(fresh)
    assert await world.there.get(ACME) == fresh


async def test_an_entry_that_has_not_changed_is_not_decrypted_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = world.credentials(ttl_ms=1000)
    await world.here.set(credentials)
    monkeypatch.delattr(CredentialCodec, "decode")
    ((entry, _),) = world.redis.entries.values()
    assert [world.here.read(ACME, entry) for _ in range(2)] == [credentials, credentials]
    world.clock.now += 1
    assert world.here.read(ACME, entry) is None


async def test_what_was_not_read_for_longest_is_forgotten_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "REMEMBERED", 2)
    await world.here.set(world.credentials())
    await world.here.set(world.credentials(tenant=OTHER))
    await world.here.get(ACME)
    await world.here.set(world.credentials(tenant=TenantId("third")))
    world.redis.go_away()
    assert [await world.here.has(tenant) for tenant in (ACME, OTHER)] == [True, False]


async def test_an_entry_under_keys_of_another_time_is_not_there(world: World) -> None:
    await world.replica(CredentialCodec([Fernet.generate_key().decode()])).set(world.credentials())
    assert await world.here.get(ACME) is None


async def test_an_entry_that_was_copied_to_another_tenants_key_is_not_used(world: World) -> None:
    await world.here.set(world.credentials(tenant=ACME))
    await world.here.set(world.credentials(tenant=OTHER))
    acmes, others = world.redis.entries
    world.redis.entries[others] = world.redis.entries[acmes]
    assert await world.here.get(OTHER) is None


async def test_invalidating_removes_the_entry_for_every_replica(world: World) -> None:
    await world.here.set(world.credentials())
    await world.there.get(ACME)
    assert await world.here.invalidate(ACME)
    assert not await world.there.has(ACME)
    assert not await world.here.invalidate(ACME)


async def test_a_refused_token_is_removed(world: World) -> None:
    await world.here.set(world.credentials("EAAGone"))
    assert await world.here.invalidate(ACME, failed_token="EAAGone")
    assert not await world.here.has(ACME)


async def test_a_refused_token_that_was_replaced_meanwhile_removes_nothing(world: World) -> None:
    await world.here.set(world.credentials("EAAGone"))
    fresh = world.credentials("EAAGtwo")
    await world.there.set(fresh)
    assert not await world.here.invalidate(ACME, failed_token="EAAGone")
    assert await world.here.get(ACME) == fresh


async def test_a_token_that_is_replaced_during_the_removal_stays(world: World) -> None:
    await world.here.set(world.credentials("EAAGone"))
    fresh = world.credentials("EAAGtwo")
    evaluated = world.redis.eval

    async def late(script: str, keys: int, key: str, value: bytes | str) -> int:
        await world.there.set(fresh)
        return await evaluated(script, keys, key, value)

    world.redis.eval = late  # type: ignore[method-assign]
    assert not await world.here.invalidate(ACME, failed_token="EAAGone")
    assert await world.there.get(ACME) == fresh


async def test_clearing_removes_every_tenant_and_nothing_else(world: World) -> None:
    await world.redis.set("somebody-elses", b"value")
    for tenant in (ACME, OTHER):
        await world.here.set(world.credentials(tenant=tenant))
    assert await world.here.clear() == 2
    assert list(world.redis.entries) == ["somebody-elses"]
    world.redis.go_away()
    with pytest.raises(RedisAway):
        await world.here.clear()


async def test_a_lease_has_one_owner_until_it_is_given_back_or_ends(world: World) -> None:
    assert await world.here.lease(ACME, "here", 5000)
    assert not await world.there.lease(ACME, "there", 5000)
    assert await world.there.lease(OTHER, "there", 5000)
    await world.there.release(ACME, "there")
    assert not await world.there.lease(ACME, "there", 5000)
    await world.here.release(ACME, "here")
    assert await world.there.lease(ACME, "there", 5000)
    world.clock.now += 5
    assert await world.here.lease(ACME, "here", 5000)
