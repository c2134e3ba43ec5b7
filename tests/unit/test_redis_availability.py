"""Whether Redis is away: whose refusal says so, who is told, and how its return is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.redis import availability, link
from stream.redis.availability import PROBE_EVERY_S, Availability, RedisAway
from stream.redis.link import MOST_AT_ONCE
from stream.redis.server import PROBE_KEY
from tests.unit.doubles import turns
from tests.unit.redis_world import WRONG_TYPE, World

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


async def test_single_commands_beyond_the_most_at_once_wait_for_one_that_ends(world: World) -> None:
    running, most, may_end = 0, 0, asyncio.Event()

    async def slow() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await may_end.wait()
        running -= 1

    asked = [asyncio.create_task(world.link.ask(slow)) for _ in range(3 * MOST_AT_ONCE)]
    await turns()
    may_end.set()
    await asyncio.gather(*asked)
    assert most == MOST_AT_ONCE


@pytest.mark.parametrize(
    "words",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value script: c00cc63bb, on @user_script:1.",
        "user_script:10: attempt to perform arithmetic on a nil value script: c00cc63bb, on @user_script:10.",
        "user_script:3: attempt to compare number with nil script: c00cc63bb, on @user_script:3.",
        "Lua redis lib command arguments must be strings or integers script: c00cc63bb, on @user_script:6.",
        "hash value is not an integer script: c00cc63bb, on @user_script:5.",
    ],
)
def test_a_refusal_for_what_a_key_holds_says_nothing_of_redis(world: World, words: str) -> None:
    """In the words of Redis 7.0 and 8.0, as redis-py hands them over."""
    state = Availability(on_refused=world.refused.append)
    assert state.note_refusals([ResponseError(words)])
    assert (state.away, world.refused) == (False, [1])


@pytest.mark.parametrize(
    "words",
    [
        "NOREPLICAS Not enough good replicas to write. script: c00cc63bb, on @user_script:1.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "The user executing the script can't run this command or subcommand script: c00cc63bb, on @user_script:1.",
        "ACL failure in script: No permissions to access a key script: c00cc63bb, on @user_script:1.",
    ],
)
def test_a_refusal_for_what_redis_cannot_do_says_that_it_is_of_no_use(world: World, words: str) -> None:
    """The last two are the same one, in the words of Redis 7.0 and 8.0."""
    state = Availability(on_refused=world.refused.append)
    assert not state.note_refusals([WRONG_TYPE, ResponseError(words)])
    assert (state.away, world.refused) == (True, [])


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
    await turns()
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
    for module in (availability, link):
        monkeypatch.setattr(module, "PROBE_EVERY_S", 0.0)
    world.trouble = {PROBE_KEY: [trouble] * 6}
    watch = asyncio.create_task(world.link.watch())
    for _ in range(20):
        await turns()
    assert (world.trouble[PROBE_KEY], world.link.away) == ([], False)
    asked = len(world.sent)
    await turns()
    watch.cancel()
    assert [line["event"] for line in lines] == ["redis_away", "redis_back"]
    assert len(world.sent) == asked  # while it is there, the messages tell
