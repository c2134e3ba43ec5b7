"""Poison: a body that ends the process whenever it is tried. Without a guard it would end one replica after another.

A message that the broker delivers again may have ended the process before. So the starts of its tries are noted in
Redis, by the hash of its bytes, before any of it is read. They are deleted when a try ends in any way: settled, put
back on the queue, cut off, or its connection lost. The starts that remain are of processes that died in a try.

    started by        fewer than 2      2 or 3                          4, and all of them are over
    other processes   tried as ever     a suspect: tried alone          POISON, unread

The messages that were in flight beside a poison have starts too. A process tries one suspect at a time: such a
neighbour ends its try, and its starts are deleted; the poison does not. A first delivery costs nothing here.
While Redis is away nothing is counted, and messages are tried as ever.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal

from stream.delivery.outcome import Busy, Failed, Outcome
from stream.meta.failure import Certainty, Failure
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.redis.scripts import Script

KEY_PREFIX: Final = "whatsapp-stream:started:"
MOST_DELIVERIES: Final = 5  # that have no end
NOTED_STARTS: Final = MOST_DELIVERIES - 1  # the first delivery is not noted
SUSPECT_FROM: Final = 2  # starts: a message that was beside a poison twice by chance, or the poison
KEPT_MS: Final = 86_400_000  # a day, as long as a message lives
KEPT_AFTER_VERDICT_MS: Final = 300_000  # so that an unsettled verdict is found again; a later replay starts from zero
POISON: Final = f"the process died in each of {MOST_DELIVERIES} deliveries; a request may have left in one of them"
TURN_WAIT_S: Final = 2.0  # a suspect that waits for its turn holds a place that another message could use

# This process's own starts do not count: it lives, so they have ended, or their end could not be written. A start that
# is younger than the longest try may be a try that still runs in another replica: then there is no verdict yet.
_START: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local starts = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local others, newest = 0, 0
for i = 1, #starts, 2 do
    if starts[i] ~= ARGV[1] then
        others = others + 1
        newest = math.max(newest, tonumber(starts[i + 1]))
    end
end
if others >= tonumber(ARGV[3]) then
    local left = newest + tonumber(ARGV[4]) - now
    if left > 0 then return {'wait', left} end
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
    return {'poison'}
end
if others >= tonumber(ARGV[2]) then return {'suspect'} end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {'try'}
""")
_END: Final = Script("return redis.call('DEL', KEYS[1])")


def key_of(body: bytes) -> str:
    """Where Redis keeps the starts of a body's tries."""
    return KEY_PREFIX + hashlib.sha256(body).hexdigest()


class PoisonGuard:
    """Lets a message that was delivered again be tried, alone if need be, or not at all.

    Args:
        link: Redis.
        bound_s: How long a try may take, in seconds.
    """

    def __init__(self, link: RedisLink, *, bound_s: float) -> None:
        self._link = link
        self._bound_ms = int(bound_s * 1000)
        self._process = uuid.uuid4().hex
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def watch(self, body: bytes) -> AsyncIterator[Outcome | None]:
        """Watch a try. Gives `None` if the message may be tried, otherwise the outcome without a try.

        Args:
            body: Its bytes, which are only hashed.
        """
        key = key_of(body)
        verdict = await self._start(key, alone=False)
        if verdict != "suspect":
            async with self._watched(key, verdict) as outcome:
                yield outcome
        elif await self._take_turn():
            try:
                async with self._watched(key, await self._start(key, alone=True)) as outcome:
                    yield outcome
            finally:
                self._turn.release()
        else:
            yield Busy(TURN_WAIT_S, "turn")

    async def _start(self, key: str, *, alone: bool) -> Outcome | Literal["try", "suspect"]:
        suspect_from = NOTED_STARTS if alone else SUSPECT_FROM
        limits = (suspect_from, NOTED_STARTS, self._bound_ms, KEPT_MS, KEPT_AFTER_VERDICT_MS)
        try:
            verdict, *left_ms = await self._link.run(_START, (key,), (self._process, *limits))
        except RedisAway:
            return "try"
        match verdict:
            case b"poison":
                return Failed(Failure.of("POISON", POISON, Certainty.UNKNOWN))
            case b"wait":
                return Busy(left_ms[0] / 1000, "turn")
            case b"suspect":
                return "suspect"
            case _:
                return "try"

    @asynccontextmanager
    async def _watched(self, key: str, verdict: Outcome | str) -> AsyncIterator[Outcome | None]:
        if not isinstance(verdict, str):
            yield verdict
            return
        try:
            yield None
        finally:  # the try has ended, and the process lives
            with suppress(RedisAway):
                await self._link.run(_END, (key,), ())

    async def _take_turn(self) -> bool:
        try:
            async with asyncio.timeout(TURN_WAIT_S):
                await self._turn.acquire()
        except TimeoutError:
            return False
        return True
