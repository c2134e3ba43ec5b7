"""Pacing in Lua does what the pure functions say, on a real Redis."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest
from redis.asyncio import Redis

from sandbox.world import World
from stream.redis.client import connect
from stream.redis.link import RedisLink
from stream.traffic import pace_script
from stream.traffic.pacing import (
    SECOND_US,
    UNLIMITED,
    How,
    Limit,
    Pace,
    Slowed,
    Use,
    Verdict,
    decide,
    slow_down,
)
from tests.scene import unique

T0: Final = 1_700_000_000 * SECOND_US
# The parts as a claim and a feedback run them, but at a moment that the test chooses.
GATE: Final = f"""
local ledger_key, state, left_us = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = {{tonumber(ARGV[3]), tonumber(ARGV[4])}}
local pace_keys, pace_limits = {{unpack(KEYS, 2)}}, {{unpack(ARGV, 5)}}
local slots = redis.call('HMGET', ledger_key, '{"', '".join(pace_script.SLOT_FIELDS)}')
local held = {{false, false, false, false, false, false, slots[1], slots[2], slots[3]}}
{pace_script.FUNCTIONS}
{pace_script.GATE}
return {{'go'}}
"""
REFUSED: Final = f"""{pace_script.FUNCTIONS}{pace_script.REFUSED_FUNCTION}
local pace, now = pace_of(redis.call('GET', KEYS[1])), tonumber(ARGV[4])
slow_down(ARGV[1], pace, tonumber(ARGV[2]), now, tonumber(ARGV[3]))
keep_pace(KEYS[1], pace, now)
"""


class Twin:
    """One message's limits, in Redis and as values, at the same moments."""

    def __init__(self, redis: Redis, limits: list[Limit], *, for_long: bool = False) -> None:
        name = unique("pace-test")
        self.redis: Any = redis
        self.ledger_key = f"{name}:ledger"
        self.keys = [f"{name}:{place}" for place in range(len(limits))]
        self.uses = tuple(Use(limit) for limit in limits)
        # The test's clock is not that of Redis: with `for_long`, nothing ends meanwhile.
        self.gate, self.refused = (
            text.replace("'PX', ", "'PX', 600000 + ") if for_long else text for text in (GATE, REFUSED)
        )

    async def ask(self, now: int, left_us: int, state: str = "") -> tuple[list[Any], Verdict]:
        terms = itertools.chain.from_iterable((use.limit.interval_us, use.limit.span_us) for use in self.uses)
        arguments = (state, left_us, now // SECOND_US, now % SECOND_US, *terms)
        answer = await self.redis.eval(self.gate, 1 + len(self.keys), self.ledger_key, *self.keys, *arguments)
        verdict = decide(self.uses, now, left_us)
        self.uses = verdict.uses
        return answer, verdict

    async def refuse(self, place: int, how: How, now: int, amount: int) -> None:
        use = self.uses[place]
        await self.redis.eval(self.refused, 1, self.keys[place], how, use.limit.interval_us, amount, now)
        pace = slow_down(how, use.limit, use.pace, now, amount)
        self.uses = (*self.uses[:place], Use(use.limit, pace, use.slot), *self.uses[place + 1 :])

    async def in_redis(self) -> tuple[Use, ...]:
        """What Redis holds."""
        slots = await self.redis.hmget(self.ledger_key, pace_script.SLOT_FIELDS)
        kept = [await self.redis.get(key) for key in self.keys]
        return tuple(
            Use(use.limit, pace_script.read_pace(value) if value else Pace(), int(slot) if slot else None)
            for use, value, slot in zip(self.uses, kept, slots, strict=False)
        )

    async def forget_slots(self) -> None:
        """Another message comes."""
        await self.redis.delete(self.ledger_key)
        self.uses = tuple(Use(use.limit, use.pace) for use in self.uses)


@pytest.fixture
async def redis(world: World) -> AsyncIterator[Redis]:
    client = Redis.from_url(world.redis.url)
    yield client
    await client.aclose()


@pytest.mark.parametrize("seed", range(12))
async def test_both_answer_the_same_and_keep_the_same(redis: Redis, seed: int) -> None:
    chance = random.Random(seed)
    shapes = [Limit.of(80, SECOND_US), Limit.of(7, SECOND_US), Limit(20 * SECOND_US, 60 * SECOND_US), UNLIMITED]
    limits = [chance.choice(shapes) for _ in range(chance.choice([2, 3]))]
    twin, now = Twin(redis, limits, for_long=True), T0
    seen = set[str]()
    for _ in range(150):
        now += chance.choice([0, 0, 300, 12_500, 300_000, SECOND_US, 30 * SECOND_US, -2 * SECOND_US])
        match chance.randrange(12):
            case 0:
                await twin.refuse(chance.randrange(len(limits)), "cut", now, chance.choice([0, SECOND_US]))
            case 1:
                await twin.refuse(chance.randrange(len(limits)), "back_off", now, 0)
            case 2:
                await twin.refuse(chance.randrange(len(limits)), "pause", now, 700_000)
            case 3 | 4 | 5 | 6:
                await twin.forget_slots()
            case _:
                pass
        answer, verdict = await twin.ask(now, chance.choice([10**15, 40_000]))
        expected = [b"pace", verdict.wait_us, verdict.bound_by + 1] if verdict.wait_us else [b"go"]
        assert answer == expected
        seen.add(str(answer[0]))
        assert await twin.in_redis() == twin.uses
    assert len(seen) == 2, "the walk met both answers"


async def test_what_is_kept_ends_when_it_says_nothing_any_more(redis: Redis) -> None:
    twin = Twin(redis, [Limit.of(2, 10 * SECOND_US), UNLIMITED, Limit(6 * SECOND_US, 6 * SECOND_US)])
    await twin.ask(T0, 10**15)
    assert [await redis.pttl(key) for key in twin.keys] == pytest.approx([5_000, -2, 6_000], abs=900)
    _, verdict = await twin.ask(T0, 10**15)
    assert verdict.bound_by == 2
    assert await redis.pttl(twin.keys[2]) == pytest.approx(12_000, abs=900)
    assert await redis.pttl(twin.ledger_key) == pytest.approx(66_000, abs=900)


async def test_a_reservation_does_not_shorten_how_long_a_message_in_doubt_is_remembered(redis: Redis) -> None:
    twin = Twin(redis, [Limit(SECOND_US, SECOND_US)])
    await twin.redis.hset(twin.ledger_key, "state", "unknown")
    await redis.pexpire(twin.ledger_key, 500_000)
    for _ in range(2):
        await twin.ask(T0, 10**15)
    assert await twin.redis.hget(twin.ledger_key, "slot_number") == str(T0 + SECOND_US).encode()
    assert await redis.pttl(twin.ledger_key) == pytest.approx(500_000, abs=900)


@pytest.mark.parametrize(("state", "left_us"), [("sending", 10**15), ("", 0)])
async def test_a_claim_that_is_renewed_and_a_message_that_is_not_valid_take_nothing(
    redis: Redis, state: str, left_us: int
) -> None:
    twin = Twin(redis, [Limit(SECOND_US, SECOND_US)])
    arguments = (state, left_us, T0 // SECOND_US, 0, SECOND_US, SECOND_US)
    for _ in range(3):
        assert await twin.redis.eval(GATE, 2, twin.ledger_key, *twin.keys, *arguments) == [b"go"]
    assert await redis.exists(*twin.keys) == 0


async def test_what_redis_keeps_is_read_as_a_value(redis: Redis) -> None:
    pace = Pace(T0, T0 + 1, 0, 12.345, T0, 3)
    await redis.set("pace-test", msgspec.msgpack.encode(pace))
    text = await redis.eval("return cmsgpack.pack(cmsgpack.unpack(redis.call('GET', KEYS[1])))", 1, "pace-test")
    assert pace_script.read_pace(text) == pace


@pytest.mark.parametrize(
    ("how", "amount", "first", "second"),
    [
        ("cut", 0, Slowed(0, 12_500, 25_000, 0), Slowed(0, 25_000, 25_000, 0)),
        ("back_off", 0, Slowed(SECOND_US, 12_500, 12_500, 1), Slowed(SECOND_US, 12_500, 12_500, 0)),
        ("pause", 5 * SECOND_US, Slowed(5 * SECOND_US, 12_500, 12_500, 1), Slowed(5 * SECOND_US, 12_500, 12_500, 0)),
    ],
)
async def test_a_refusal_is_answered_with_what_it_has_changed(
    world: World, how: How, amount: int, first: Slowed, second: Slowed
) -> None:
    link, key = RedisLink(connect(world.redis.url)), unique("refused")
    try:
        answers = [Slowed(*await link.run(pace_script.REFUSED, (key,), (how, 12_500, amount))) for _ in range(2)]
    finally:
        await link.aclose()
    for answer, wanted in zip(answers, (first, second), strict=True):
        assert answer.pause_us == pytest.approx(wanted.pause_us, abs=SECOND_US // 2)
        assert answer.after_us == pytest.approx(wanted.after_us, rel=0.01)
        assert answer.before_us == pytest.approx(wanted.before_us, rel=0.01)
        assert answer.begins == wanted.begins
