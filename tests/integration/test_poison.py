"""What is noted of messages that were delivered again, on a real Redis: deaths count, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stream.delivery import poison
from stream.delivery.outcome import Busy, Failed, Outcome
from stream.delivery.poison import KEPT_AFTER_VERDICT_MS, KEPT_MS, NOTED_STARTS, SUSPECT_FROM, PoisonGuard
from stream.redis.client import connect
from stream.redis.link import RedisLink
from tests.scene import unique

OVER_S, RUNNING_S = 0.0, 60.0  # how long a try may last: every start is over at once, or none


class Body:
    """One message, as several processes see it; each guard stands for a process."""

    def __init__(self, link: RedisLink) -> None:
        self.link = link
        self.bytes = unique("poison-test").encode()
        self.brought: list[Outcome | None] = []

    def process(self, bound_s: float = OVER_S) -> PoisonGuard:
        return PoisonGuard(self.link, bound_s=bound_s)

    async def is_delivered_to(self, process: PoisonGuard) -> Outcome | None:
        """What becomes of it there; a try ends at once."""

        async with process.watch(self.bytes) as verdict:
            self.brought.append(verdict)
        return verdict

    async def kills(self, process: PoisonGuard) -> None:
        """The process dies in the try."""
        assert await process._start(self._key, alone=True) == "try"

    async def has_killed(self, times: int) -> Body:
        for _ in range(times):
            await self.kills(self.process())
        return self

    @property
    def _key(self) -> str:
        return poison.key_of(self.bytes)

    async def noted(self) -> int:
        return int(await self.link.redis.zcard(self._key))

    async def left_ms(self) -> int:
        return int(await self.link.redis.pttl(self._key))


@pytest.fixture
def body(link: RedisLink) -> Body:
    return Body(link)


async def test_the_fifth_delivery_without_an_end_was_the_last(body: Body) -> None:
    await body.has_killed(NOTED_STARTS)  # and before them the first one, which is not noted
    verdict = await body.is_delivered_to(body.process())
    assert isinstance(verdict, Failed)
    assert verdict.failure.rule.name == "POISON"


@pytest.mark.parametrize("times", range(NOTED_STARTS))
async def test_a_message_that_ends_in_time_is_forgotten(body: Body, times: int) -> None:
    await body.has_killed(times)
    assert await body.noted() == times
    assert await body.is_delivered_to(body.process()) is None
    assert await body.noted() == 0


async def test_a_hundred_hand_backs_count_nothing_in_one_process_or_in_many(body: Body) -> None:
    one = body.process()
    for _ in range(50):
        assert await body.is_delivered_to(one) is None
        assert await body.is_delivered_to(body.process()) is None


async def test_a_hundred_hand_backs_count_nothing_when_redis_never_hears_of_their_ends(body: Body) -> None:
    one = body.process()
    for _ in range(100):
        await body.kills(one)  # it did not: it goes on
    assert await body.is_delivered_to(one) is None
    assert await body.is_delivered_to(body.process()) is None


@pytest.mark.parametrize("end", [RuntimeError("unforeseen"), asyncio.CancelledError()], ids=["error", "cut-off"])
async def test_whatever_ends_a_try_ends_it(body: Body, end: BaseException) -> None:
    async def try_it() -> None:
        async with body.process().watch(body.bytes):
            assert await body.noted() == 2
            raise end

    await body.has_killed(1)
    with pytest.raises(type(end)):
        await try_it()
    assert await body.noted() == 0


async def test_there_is_no_verdict_while_another_replica_may_still_be_trying(body: Body) -> None:
    await body.has_killed(NOTED_STARTS)
    verdict = await body.is_delivered_to(body.process(RUNNING_S))
    assert isinstance(verdict, Busy)
    assert RUNNING_S - 10 < verdict.left_s <= RUNNING_S
    assert await body.noted() == NOTED_STARTS


async def test_a_verdict_is_found_again_for_a_while_and_a_replay_starts_anew(body: Body) -> None:
    await body.has_killed(NOTED_STARTS)
    assert await body.left_ms() > KEPT_AFTER_VERDICT_MS
    for _ in range(3):
        assert isinstance(await body.is_delivered_to(body.process()), Failed)
    assert await body.left_ms() <= KEPT_AFTER_VERDICT_MS < KEPT_MS


async def test_another_body_is_another_story(body: Body, link: RedisLink) -> None:
    await body.has_killed(NOTED_STARTS)
    assert await Body(link).is_delivered_to(body.process()) is None


class Trial:
    """Suspects in one process, whose tries end when the test says so."""

    def __init__(self, process: PoisonGuard, monkeypatch: pytest.MonkeyPatch) -> None:
        self.process = process
        self.tried: list[Body] = []
        self.release = asyncio.Event()
        self._patience: Callable[[float], None] = lambda seconds: monkeypatch.setattr(poison, "TURN_WAIT_S", seconds)

    def wait_for_turns(self, seconds: float) -> None:
        self._patience(seconds)

    async def of(self, body: Body) -> None:
        async with self.process.watch(body.bytes) as verdict:
            body.brought.append(verdict)
            if verdict is None:
                self.tried.append(body)
                await self.release.wait()


async def test_suspects_are_tried_one_at_a_time_and_only_the_one_that_is_tried_counts(
    link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [await Body(link).has_killed(SUSPECT_FROM) for _ in range(2)]
    trial = Trial(first.process(), monkeypatch)
    trial.wait_for_turns(10)
    running = [asyncio.create_task(trial.of(each)) for each in (first, second)]
    async with asyncio.timeout(5):
        while not trial.tried:  # noqa: ASYNC110 - Redis answers when it does
            await asyncio.sleep(0.01)
    assert trial.tried == [first]
    assert (await first.noted(), await second.noted()) == (SUSPECT_FROM + 1, SUSPECT_FROM)
    trial.release.set()
    await asyncio.gather(*running)
    assert trial.tried == [first, second]
    assert (await first.noted(), await second.noted()) == (0, 0)


async def test_a_suspect_whose_turn_does_not_come_waits_on_the_broker_and_counts_nothing(
    link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [await Body(link).has_killed(SUSPECT_FROM) for _ in range(2)]
    trial = Trial(first.process(), monkeypatch)
    trial.wait_for_turns(0.05)
    running = asyncio.create_task(trial.of(first))
    async with asyncio.timeout(5):
        while not trial.tried:  # noqa: ASYNC110 - Redis answers when it does
            await asyncio.sleep(0.01)
    await trial.of(second)
    assert (second.brought, await second.noted()) == ([Busy(0.05, "turn")], SUSPECT_FROM)
    trial.release.set()
    await running
    assert await second.is_delivered_to(trial.process) is None  # its turn has come


async def test_while_redis_is_away_nothing_counts_and_messages_are_tried(body: Body) -> None:
    await body.has_killed(NOTED_STARTS)
    away = RedisLink(connect("redis://127.0.0.1:1/0"))
    assert await body.is_delivered_to(PoisonGuard(away, bound_s=OVER_S)) is None
    await away.aclose()
