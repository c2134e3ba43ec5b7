"""Whether Redis is away: whose refusal says so, who is told, and how its return is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.redis import availability
from stream.redis.availability import PROBE_EVERY_S, RedisAway
from stream.redis.link import PROBE_KEY
from tests.unit.redis_world import WRONG_TYPE, World, settle

pytestmark = pytest.mark.usefixtures("lines")


@pytest.fixture
def world() -> World:
    return World()


async def test_a_refused_command_is_its_own_callers_trouble_only(
    world: World, lines: list[MutableMapping[str, Any]]
) -> None:
    world.trouble = {"b": [WRONG_TYPE, WRONG_TYPE]}
    assert await world.run("a", "b", "c") == ["a", RedisAway, "c"]
    assert await world.run("b") == [RedisAway]
    assert await world.run("a") == ["a"]
    assert (world.link.away, world.connection.disconnects) == (False, 0)
    assert {line["event"] for line in lines} == {"redis_refused"}


async def test_a_single_command_that_is_refused_is_its_own_callers_trouble_too(
    world: World, lines: list[MutableMapping[str, Any]]
) -> None:
    async def refused() -> None:
        raise WRONG_TYPE

    with pytest.raises(RedisAway, match="WRONGTYPE"):
        await world.link.ask(refused)
    assert (world.link.away, world.refused) == (False, [1])
    assert [line["event"] for line in lines] == ["redis_refused"]


async def test_a_redis_that_is_full_answers_the_neighbours_and_counts_as_away(world: World) -> None:
    world.trouble = {"b": [OutOfMemoryError("command not allowed")]}
    assert await world.run("a", "b", "c") == ["a", RedisAway, "c"]
    assert (world.link.away, world.connection.disconnects) == (True, 1)  # its name may lead to another by now
    assert await world.run("a") == [RedisAway]
    world.clock.now += PROBE_EVERY_S
    assert await world.run("a") == ["a"]
    assert not world.link.away


async def test_a_batch_that_fails_and_those_behind_it_all_learn_that_redis_is_away(
    world: World, lines: list[MutableMapping[str, Any]]
) -> None:
    batch = await world.on_the_way("a", "b")
    behind = world.start("c", "d")
    await settle()
    world.trouble = {"b": [RedisTimeoutError("no answer")]}
    assert await world.answers([*batch, *behind]) == [RedisAway] * 4
    assert (world.sent, world.link.away) == ([["a", "b"]], True)
    assert world.connection.disconnects == 1  # or the next batch would read this one's answers
    assert await world.run("e") == [RedisAway]
    world.clock.now += PROBE_EVERY_S
    assert await world.run("f", "g") == ["f", RedisAway]  # one finds out for all
    assert await world.run("h") == ["h"]
    assert [line["event"] for line in lines] == ["redis_away", "redis_back"]


@pytest.mark.parametrize(
    "trouble", [RedisConnectionError("refused"), OutOfMemoryError("OOM"), RedisTimeoutError("frozen")]
)
async def test_without_any_message_a_redis_of_no_use_is_noticed_at_once_and_its_return_too(
    world: World, lines: list[MutableMapping[str, Any]], monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    monkeypatch.setattr(availability, "PROBE_EVERY_S", 0.0)
    world.trouble = {PROBE_KEY: [trouble] * 6}
    watch = asyncio.create_task(world.link.watch())
    for _ in range(20):
        await settle()
    assert (world.trouble[PROBE_KEY], world.link.away) == ([], False)
    asked = len(world.sent)
    await settle()
    watch.cancel()
    assert [line["event"] for line in lines] == ["redis_away", "redis_back"]
    assert len(world.sent) == asked  # while it is there, the messages tell
