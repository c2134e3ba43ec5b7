"""Poison: a body that ends the process whenever it is tried, which would end replica after replica for ever.

A message that the broker delivers again may have ended the process before. So the starts of its tries are noted in
Redis, by the hash of its bytes, before anything of it is read, and forgotten when a try ends in any way: settled,
handed back, cut off, or its connection lost. What is left are the processes that died in one.

    started by        fewer than 2      2 or 3                          4, and all of them are over
    other processes   tried as ever     a suspect: tried alone          POISON, unread

All that were in flight with a poison were started too. Alone among the suspects of its process, a neighbour ends its
try, and is forgotten; the poison does not. The first delivery is not marked as a second one and costs nothing here.
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
MOST_DELIVERIES: Final = 5  # without an end
NOTED_STARTS: Final = MOST_DELIVERIES - 1  # the first delivery is not noted
SUSPECT_FROM: Final = 2  # starts: a message that was twice a neighbour by chance, or the poison
KEPT_MS: Final = 86_400_000  # a day, as long as a message lives
KEPT_AFTER_VERDICT_MS: Final = 300_000  # a verdict that could not be settled is found again; a replay starts anew
POISON: Final = f"the process died in each of {MOST_DELIVERIES} deliveries; a request may have left in one of them"
TURN_WAIT_S: Final = 2.0  # a suspect whose turn does not come holds a place that another message could use

# A start of this process has ended, or its end could not be told: the process lives. A start that is younger than a try
# may last could be a try that still runs in another replica: then there is no verdict yet.
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
        """Watch over a try; what it gives is `None` if the message may be tried, else the outcome without a try.

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
        finally:  # whatever the end is, the process lives
            with suppress(RedisAway):
                await self._link.run(_END, (key,), ())

    async def _take_turn(self) -> bool:
        try:
            async with asyncio.timeout(TURN_WAIT_S):
                await self._turn.acquire()
        except TimeoutError:
            return False
        return True
