"""Scripts that travel together: whose answer is whose, and what one command's trouble does to the others."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import MutableMapping
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.redis import scripts
from stream.redis.availability import RedisAway
from stream.redis.client import connect
from stream.redis.connection import BatchConnection
from stream.redis.scripts import MOST_IN_BATCH
from tests.unit.doubles import turns
from tests.unit.redis_world import ECHO, WRONG_TYPE, World

DEATH = RedisConnectionError("closed by server")

pytestmark = pytest.mark.usefixtures("lines")


@pytest.fixture
def world() -> World:
    return World()


async def refusal(task: asyncio.Task[Any]) -> RedisAway:
    with pytest.raises(RedisAway) as caught:
        await task
    return caught.value


async def test_commands_of_the_same_moment_travel_together_and_each_gets_its_own_answer(world: World) -> None:
    keys = ["a", "b", "c"]
    assert await world.run(*keys) == keys
    assert world.sent == [keys]


async def test_a_command_is_sent_by_its_scripts_name(world: World) -> None:
    await world.link.run(ECHO, ("a", "b"), ("word", b"bytes", 7))
    assert world.connection.batches == [[[b"EVALSHA", ECHO.sha, b"2", b"a", b"b", b"word", b"bytes", b"7"]]]


async def test_what_comes_while_a_batch_is_on_the_way_leaves_together_as_the_next(world: World) -> None:
    first = await world.on_the_way("a")
    rest = world.start("b", "c", "d")
    await turns()
    assert world.sent == [["a"]]
    assert await world.answers([*first, *rest]) == ["a", "b", "c", "d"]
    assert world.sent == [["a"], ["b", "c", "d"]]


async def test_a_batch_is_bounded(world: World) -> None:
    keys = [str(number) for number in range(2 * MOST_IN_BATCH + 1)]
    assert await world.run(*keys) == keys
    assert [len(batch) for batch in world.sent] == [MOST_IN_BATCH, MOST_IN_BATCH, 1]


async def test_a_connection_of_the_clients_own_pool_has_what_a_batch_needs() -> None:
    client = connect("redis://localhost:1")
    assert isinstance(client, Redis)
    connection = BatchConnection(client)._connection
    assert callable(connection.send_packed_command)
    assert callable(connection.read_response)
    assert connection.socket_timeout is None
    await client.aclose()


async def test_a_script_that_redis_has_forgotten_is_brought_along_unseen(
    world: World, lines: list[MutableMapping[str, Any]]
) -> None:
    world.trouble = {"b": [NoScriptError("No matching script")], "c": [NoScriptError("No matching script")]}
    assert await world.run("a", "b", "c") == ["a", "b", "c"]
    first, second = world.connection.batches
    assert [command[:2] for command in first] == [[b"EVALSHA", ECHO.sha]] * 3
    assert second == [[b"EVAL", ECHO.text, b"1", b"b"], [b"EVAL", ECHO.text, b"1", b"c"]]
    assert lines == []


async def test_a_redis_that_denies_even_a_script_it_was_given_is_asked_once(world: World) -> None:
    world.trouble = {"a": [NoScriptError("No matching script")] * 9}
    assert await world.run("a") == [RedisAway]
    assert world.sent == [["a"], ["a"]]


async def test_a_caller_that_is_cancelled_on_the_way_disturbs_nobody(world: World) -> None:
    tasks = await world.on_the_way("a", "b", "c")
    tasks[1].cancel()
    await turns()
    assert await world.answers(tasks) == ["a", asyncio.CancelledError, "c"]
    assert (world.sent, world.connection.disconnects) == ([["a", "b", "c"]], 0)


async def test_a_caller_that_is_cancelled_before_its_command_left_takes_it_back(world: World) -> None:
    first = await world.on_the_way("a")
    rest = world.start("b", "c")
    await turns()
    rest[0].cancel()
    assert await world.answers([*first, *rest]) == ["a", asyncio.CancelledError, "c"]
    assert world.sent == [["a"], ["c"]]


async def test_a_callers_own_timeout_ends_only_its_wait(world: World) -> None:
    world.connection.answering.clear()

    async def impatient() -> object:
        async with asyncio.timeout(0.01):
            return await world.link.run(ECHO, ("a",), ())

    patient = world.start("b")
    with pytest.raises(TimeoutError):
        await impatient()
    assert await world.answers(patient) == ["b"]


@pytest.mark.parametrize("trouble", [WRONG_TYPE, RedisTimeoutError("no answer")], ids=["refused", "away"])
async def test_a_batch_whose_callers_have_all_gone_leaves_nothing_behind(world: World, trouble: Exception) -> None:
    complaints: list[object] = []
    gc.collect()  # what tests before this one have left is not complained of here
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    try:
        tasks = await world.on_the_way("a", "b")
        behind = world.start("c")
        await turns()
        world.trouble = {"a": [trouble]}
        for task in (*tasks, *behind):
            task.cancel()
        assert await world.answers([*tasks, *behind]) == [asyncio.CancelledError] * 3
        del tasks, behind, task
        await turns()
        gc.collect()
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert complaints == []
    assert world.sent == [["a", "b"]]


async def test_a_frozen_redis_holds_nobody_longer_than_one_timeout(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "TIMEOUT_S", 0.05)
    batch = await world.on_the_way("a")
    behind = world.start("b", "c")
    async with asyncio.timeout(0.09):
        ends = await asyncio.gather(*batch, *behind, return_exceptions=True)
    assert {type(end) for end in ends} == {RedisAway}
    assert world.connection.socket_timeout is None  # redis-py sets none of its own for each answer


@pytest.mark.parametrize(("deaths", "answer"), [(1, ["a", "b"]), (2, [RedisAway, RedisAway])])
async def test_a_connection_that_died_is_tried_once_more_with_the_whole_batch(
    world: World, deaths: int, answer: list[object]
) -> None:
    world.trouble = {"b": [RedisConnectionError("closed by server")] * deaths}
    assert await world.run("a", "b") == answer
    assert world.sent == [["a", "b"], ["a", "b"]]
    assert world.connection.disconnects == deaths


@pytest.mark.parametrize(
    ("troubles", "may_have_run"),
    [
        ([RedisTimeoutError("no answer")], True),
        ([DEATH, DEATH], True),
        ([DEATH, OutOfMemoryError("not now")], True),  # the first may have run
        ([OutOfMemoryError("not now")], False),
        ([WRONG_TYPE], False),
    ],
    ids=["no answer", "died twice", "died, then refused", "redis refuses", "the key refuses"],
)
async def test_a_command_without_an_answer_may_have_run_if_it_left(
    world: World, troubles: list[Exception], *, may_have_run: bool
) -> None:
    world.trouble = {"a": troubles}
    assert (await refusal(*world.start("a"))).may_have_run is may_have_run


async def test_what_was_still_behind_a_batch_that_failed_has_not_run(world: World) -> None:
    tasks = await world.on_the_way("a")
    behind = world.start("b")
    await turns()
    world.trouble = {"a": [RedisTimeoutError("no answer")]}
    world.connection.answering.set()
    assert [(await refusal(task)).may_have_run for task in (*tasks, *behind)] == [True, False]


async def test_a_command_that_found_no_connection_has_not_run(world: World) -> None:
    world.connection.refusing = RedisConnectionError("refused")
    assert not (await refusal(*world.start("a"))).may_have_run
    assert not (await refusal(*world.start("a"))).may_have_run  # nobody asked: it was found away just now
    assert world.sent == []


async def test_an_error_that_nobody_foresaw_answers_everybody_too(world: World) -> None:
    world.trouble = {"a": [ZeroDivisionError()]}
    assert await world.run("a", "b") == [RedisAway, RedisAway]


async def test_closing_answers_those_on_the_way_and_those_that_wait(world: World) -> None:
    batch = await world.on_the_way("a")
    behind = world.start("b")
    await turns()
    await world.link.aclose()
    assert await world.answers([*batch, *behind]) == [RedisAway, RedisAway]
    assert await world.run("c") == [RedisAway]


async def test_closing_answers_a_command_that_has_only_just_come(world: World) -> None:
    tasks = world.start("a")
    await asyncio.sleep(0)
    await world.link.aclose()
    assert await world.answers(tasks) == [RedisAway]
    assert world.sent == []


async def test_a_command_that_cannot_be_written_fails_alone(world: World) -> None:
    fine = world.start("a")
    with pytest.raises(TypeError):
        await world.link.run(ECHO, ("b",), (cast("str", None),))
    assert await world.answers(fine) == ["a"]
