"""What ends the look at a backlog, and what does not. `tests/integration/test_sorting.py` has the moves themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from aio_pika import IncomingMessage
from aio_pika.abc import AbstractIncomingMessage
from structlog.testing import capture_logs

from stream.broker import sorting as module
from stream.broker.sorting import Sorted, Sorting
from stream.contract.queues import INTAKE_QUEUE
from tests.unit.doubles import turns


def no_move(_: AbstractIncomingMessage) -> Sorted | None:
    return None


async def nowhere(_: IncomingMessage) -> None:
    """Take a message that does not move."""


def sorting(connection: Callable[[], Any], moves: Callable[[], int]) -> Sorting:
    return Sorting(connection, intake=INTAKE_QUEUE, moves=moves, sort=no_move, pass_on=nowhere)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look in each round of the event loop, and rest after no trouble."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0)
    monkeypatch.setattr(module, "RETRY_S", 0)


@pytest.mark.parametrize(
    "trouble", [Exception("the connection ended between two frames"), asyncio.CancelledError(), ConnectionError("lost")]
)
async def test_a_connection_that_dies_under_a_look_does_not_end_the_looks(trouble: BaseException) -> None:
    asked = 0

    def connection() -> object:
        nonlocal asked
        asked += 1
        raise trouble

    watching = asyncio.create_task(sorting(connection, count(step=module.WORTH_IT).__next__).watch())
    with capture_logs():
        await turns(50)
    assert (asked > 3, watching.done()) == (True, False)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_nothing_is_asked_of_rabbitmq_while_few_messages_move() -> None:
    asked: list[None] = []
    watching = asyncio.create_task(
        sorting(lambda: asked.append(None), count(step=module.WORTH_IT - 1).__next__).watch()
    )
    await turns(50)
    assert asked == []
    watching.cancel()


@pytest.mark.parametrize(
    ("end", "rest_s", "begins"), [("stop", 0.0, False), ("rest", 60.0, False), ("rest", 0.0, True)]
)
async def test_a_stop_keeps_a_look_from_beginning_and_so_does_a_rest_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, end: str, rest_s: int, *, begins: bool
) -> None:
    monkeypatch.setattr(module, "REST_S", rest_s)
    asked: list[None] = []
    ended = sorting(lambda: asked.append(None), count(step=module.WORTH_IT).__next__)
    await (ended.stop() if end == "stop" else ended.rest())
    watching = asyncio.create_task(ended.watch())
    with capture_logs():
        await turns(50)
    assert bool(asked) == begins
    watching.cancel()


class Lost:
    """A channel whose connection has ended."""

    is_closed = True


async def test_after_a_lost_connection_it_does_not_rest_as_after_trouble_with_a_lane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 5.0)
    cut = sorting(lambda: None, lambda: 0)
    cut._publishing = channel = Lost()
    with capture_logs() as logs:
        await cut._give_up(channel, "lost")
    assert cut._rests_until <= asyncio.get_running_loop().time() + 5
    assert logs == []  # that the connection is lost is logged elsewhere
