"""A look whose visitor fails: the error reaches the command, and every letter is given back."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import cast

import pytest
from aiormq.abc import AbstractConnection, DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from stream.broker import look as mechanics
from stream.broker.look import QueueInUse, look_at
from stream.broker.return_limit import NearLimit
from stream.operations.dead_letters import looking
from stream.operations.page.taking import caught_up
from tests.unit.dead_letter_queue import Broker, delivered
from tests.unit.doubles import turns


async def look_and_fail(broker: Broker, error: Exception, *, catch_up: bool) -> list[int]:
    shown: list[int] = []

    def visit(message: DeliveredMessage) -> None:
        shown.append(message.delivery_tag or 0)
        if len(shown) == 2:
            raise error

    async with look_at(cast("AbstractConnection", broker), "outbound-failed", visit) as look:
        if catch_up:
            await look.catch_up(look.goal)
            pytest.fail("nobody was told")
    return shown


@pytest.mark.parametrize("catch_up", [True, False])
@pytest.mark.parametrize("chunk", [60_000, 2])
@pytest.mark.parametrize("error", [ValueError("no such field"), OSError("no space left")])
async def test_what_a_visitor_raises_ends_the_look_and_every_letter_lies_there_again(
    error: Exception, chunk: int, *, catch_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mechanics, "CHUNK", chunk)
    monkeypatch.setattr(mechanics, "QUIET_S", 0.001)
    broker = Broker([delivered(b"", {}) for _ in range(5)])
    with pytest.raises(type(error), match=str(error)):
        await look_and_fail(broker, error, catch_up=catch_up)
    assert (len(broker.lying), broker.consumers, broker.is_closed) == (5, 0, True)


async def make_room_after_a_late_failure() -> None:
    broker = Broker([])

    def visit(_: DeliveredMessage) -> None:
        raise ValueError("unreadable")

    async with look_at(cast("AbstractConnection", broker), "outbound-failed", visit) as look:
        broker.lying.append(delivered(b"", {}))  # it comes while the look lasts
        await broker.deliver()
        await look.make_room()
        pytest.fail("nobody was told")


async def test_a_job_that_waits_for_outcomes_is_told_too() -> None:
    with pytest.raises(ValueError, match="unreadable"):
        await make_room_after_a_late_failure()


LIMITED, NO_RIGHT = ChannelPreconditionFailed("inequivalent arg 'x-delivery-limit'"), ChannelAccessRefused("refused")


@pytest.mark.parametrize(
    ("version", "returns", "refusal", "near"),
    [
        ("4.0.5", 10, LIMITED, True),
        ("4.2.1", 20, LIMITED, True),
        ("4.0.5", 15, NO_RIGHT, True),
        ("4.0.5", 15, None, False),
        ("4.0.5", 9, LIMITED, False),
        ("4.0.5", None, LIMITED, False),  # a classic queue
        ("4.0.5", 21, LIMITED, False),  # it has a limit of its own, or none
        ("3.13.7", 15, LIMITED, False),
        ("", 15, LIMITED, False),
    ],
)
@pytest.mark.parametrize("chunk", [60_000, 2])
async def test_a_look_stops_at_the_first_letter_where_rabbitmq_would_soon_drop_some(
    version: str,
    returns: int | None,
    refusal: Exception | None,
    *,
    near: bool,
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mechanics, "CHUNK", chunk)
    headers, shown = {"x-delivery-count": returns} if returns else {}, list[DeliveredMessage]()
    broker = Broker([delivered(b"", headers) for _ in range(5)])
    broker.version, broker.refusal = version, refusal
    with pytest.raises(NearLimit) if near else nullcontext():
        await look_through(broker, shown)
    assert (len(shown), len(broker.lying), broker.consumers) == (1 if near else 5, 5, 0)


@pytest.mark.parametrize(("refusal", "prefetches"), [(None, [60_000]), (LIMITED, [1, 60_000]), (NO_RIGHT, [1, 60_000])])
async def test_the_first_letter_is_taken_alone_only_where_there_may_be_a_limit(
    refusal: Exception | None, prefetches: list[int]
) -> None:
    broker = Broker([delivered(b"", {}) for _ in range(5)])  # RabbitMQ 4.3: dying with it alone would put it last
    broker.version, broker.refusal = "4.3.6", refusal
    await look_through(broker, [])
    assert broker.prefetches == prefetches


async def test_a_look_that_gives_nothing_back_heeds_no_limit() -> None:
    broker, shown = Broker([delivered(b"", {"x-delivery-count": 19}) for _ in range(5)]), list[DeliveredMessage]()
    broker.version, broker.refusal = "4.0.5", LIMITED
    await look_through(broker, shown, gives_back=False)
    assert len(shown) == 5


async def look_through(broker: Broker, shown: list[DeliveredMessage], *, gives_back: bool = True) -> None:
    connection = cast("AbstractConnection", broker)
    async with look_at(connection, "outbound-failed", shown.append, gives_back=gives_back) as look:
        await look.catch_up(look.goal)


@pytest.mark.parametrize(("silent", "shown"), [(0, 5), (2, 3)])
async def test_the_pages_look_ends_in_time_with_what_it_has_seen_and_gives_all_back(
    silent: int, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.operations.page.taking.LOOK_S", 0.01)
    broker = Broker([delivered(b"", {}) for _ in range(5)])
    broker.silent = silent
    seen: list[DeliveredMessage] = []
    async with look_at(cast("AbstractConnection", broker), "outbound-failed", seen.append) as look:
        assert await caught_up(look) is (silent == 0)
    assert (len(seen), len(broker.lying), broker.is_closed) == (shown, 5, True)


@pytest.mark.parametrize("version", ["3.10.8", "4.3.6"])
async def test_a_look_at_the_first_letters_takes_no_more_and_leaves_the_others_behind_them(version: str) -> None:
    letters = [delivered(b"", {}) for _ in range(5)]
    broker = Broker(list(letters))
    broker.version = version
    seen: list[DeliveredMessage] = []
    async with look_at(cast("AbstractConnection", broker), "outbound-failed", seen.append, most=2) as look:
        assert look.goal == 2
        assert await look.catch_up(look.goal)
        assert broker.lying == letters[2:]
    assert seen == letters[:2]
    assert broker.lying == letters


class Returning(Broker):
    """RabbitMQ, which counts what is given back at once.

    Attributes:
        returned: Letters of each return.
        is_quorum: A consumer that is cancelled counts as long as it holds something.
    """

    def __init__(self, lying: list[DeliveredMessage], *, is_quorum: bool) -> None:
        super().__init__(lying)
        self.returned: list[int] = []
        self.is_quorum = is_quorum

    async def basic_cancel(self, *_: object, **__: object) -> None:
        self.consumers = int(self.is_quorum)

    async def basic_nack(self, tag: int, **_: object) -> None:
        before = len(self.lying)
        await super().basic_nack(tag)
        self.returned.append(len(self.lying) - before)


@pytest.mark.parametrize(("is_quorum", "returned"), [(True, [2, 2, 1]), (False, [5])])
async def test_a_classic_queue_gets_all_back_at_once_so_that_no_other_look_sees_a_part(
    returned: list[int], *, is_quorum: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mechanics, "BATCH", 2)
    broker = Returning([delivered(b"", {}) for _ in range(5)], is_quorum=is_quorum)
    await look_through(broker, [])
    assert broker.returned == returned


@pytest.mark.parametrize(("refusals", "patience_s", "done"), [(3, 60.0, True), (3, 0.0, False)])
async def test_whoever_holds_the_lock_waits_for_the_end_of_somebodys_look_but_not_for_ever(
    refusals: int, patience_s: float, *, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "AGAIN_S", 0)
    monkeypatch.setattr(looking, "PATIENCE_S", patience_s)
    answers = iter([*[QueueInUse()] * refusals, None])

    async def look() -> bool:
        if answer := next(answers):
            raise answer
        return True

    with nullcontext() if done else pytest.raises(QueueInUse):
        assert await looking.patiently(look)


async def test_a_look_that_is_cancelled_while_letters_come_ends() -> None:
    broker = Broker([])
    look = asyncio.create_task(wait_for_ten(broker))
    await turns()
    broker.lying = [delivered(b"", {})]
    await broker.deliver()  # the look would go on in this moment
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    assert (len(broker.lying), broker.consumers) == (1, 0)


async def wait_for_ten(broker: Broker) -> None:
    async with look_at(cast("AbstractConnection", broker), "outbound-failed", lambda _: None) as look:
        await look.catch_up(10)
