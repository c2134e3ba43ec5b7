from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from stream.contract.identifiers import TenantId
from stream.redis.availability import RedisAway
from stream.tenants.credentials import Credentials
from tests.unit.doubles import Clock, FakeRedis, credential_cache

ACME = TenantId("acme")
TOKEN = "EAAGone"


class World:
    """A cache whose Redis can go away and come back."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.redis = FakeRedis(self.clock)
        self.cache = credential_cache(self.redis, self.clock)

    def credentials(self, token: str = TOKEN, *, ttl_ms: int = 900_000) -> Credentials:
        return Credentials(ACME, token, cached_at=self.clock.now, ttl_ms=ttl_ms)


pytestmark = pytest.mark.usefixtures("lines")


@pytest.fixture
def world() -> World:
    return World()


async def test_credentials_seen_within_a_minute_serve_while_redis_is_away(world: World) -> None:
    credentials = world.credentials()
    await world.cache.set(credentials)
    world.redis.go_away()
    world.clock.now += 59
    assert await world.cache.get(ACME) == credentials
    world.clock.now += 2
    assert await world.cache.get(ACME) is None


async def test_the_minute_counts_from_the_last_look_and_not_from_the_fetch(world: World) -> None:
    await world.cache.set(world.credentials())
    world.clock.now += 300
    await world.cache.get(ACME)
    world.redis.go_away()
    world.clock.now += 59
    assert await world.cache.has(ACME)


async def test_serving_from_memory_does_not_stretch_the_minute(world: World) -> None:
    await world.cache.set(world.credentials())
    world.redis.go_away()
    for _ in range(6):
        assert await world.cache.has(ACME)
        world.clock.now += 10.1
    assert not await world.cache.has(ACME)


async def test_credentials_that_expired_do_not_serve_even_then(world: World) -> None:
    await world.cache.set(world.credentials(ttl_ms=1000))
    world.redis.go_away()
    world.clock.now += 1
    assert not await world.cache.has(ACME)


async def test_credentials_fetched_during_the_outage_serve_this_process(world: World) -> None:
    world.redis.go_away()
    credentials = world.credentials()
    await world.cache.set(credentials)
    assert await world.cache.get(ACME) == credentials


async def test_a_refused_token_is_not_served_during_the_outage(world: World) -> None:
    await world.cache.set(world.credentials())
    world.redis.go_away()
    assert await world.cache.invalidate(ACME, failed_token="EAAGone")
    assert not await world.cache.has(ACME)


async def test_another_token_than_the_refused_one_is_still_served_during_the_outage(world: World) -> None:
    await world.cache.set(world.credentials("EAAGtwo"))
    world.redis.go_away()
    assert not await world.cache.invalidate(ACME, failed_token="EAAGone")
    assert await world.cache.has(ACME)


async def test_an_entry_that_is_gone_from_redis_is_gone_from_memory(world: World) -> None:
    await world.cache.set(world.credentials())
    world.redis.entries.clear()
    assert not await world.cache.has(ACME)
    world.redis.go_away()
    assert not await world.cache.has(ACME)


async def test_it_comes_back(world: World) -> None:
    world.redis.go_away()
    await world.cache.set(world.credentials("EAAGlocal"))
    world.redis.come_back()
    world.clock.now += 2
    shared = world.credentials("EAAGshared")
    await world.cache.set(shared)
    assert await world.cache.get(ACME) == shared
    assert world.redis.entries


async def test_redis_is_asked_once_a_second_while_it_is_away(world: World) -> None:
    world.redis.go_away()
    for _ in range(100):
        await world.cache.get(ACME)
        world.clock.now += 0.1
    assert 9 <= world.redis.asked <= 11


async def test_one_warning_tells_of_each_change(world: World, lines: list[MutableMapping[str, Any]]) -> None:
    for _ in range(2):
        world.redis.go_away()
        for _ in range(5):
            await world.cache.get(ACME)
            await world.cache.set(world.credentials())
            world.clock.now += 2
        world.redis.come_back()
        for _ in range(5):
            await world.cache.get(ACME)
            world.clock.now += 2
    assert [line["event"] for line in lines] == ["redis_away", "redis_back"] * 2
    assert {line["log_level"] for line in lines} == {"warning"}


@pytest.mark.parametrize("error", [OSError("no route"), TimeoutError(), ConnectionResetError("reset")], ids=repr)
async def test_every_way_of_being_away_is_the_same(world: World, error: Exception) -> None:
    await world.cache.set(world.credentials())
    world.redis.away = error
    assert await world.cache.has(ACME)


async def test_a_lease_cannot_be_had_during_the_outage_and_giving_one_back_does_not_fail(world: World) -> None:
    world.redis.go_away()
    with pytest.raises(RedisAway):
        await world.cache.lease(ACME, "here", 1000)
    await world.cache.release(ACME, "here")
