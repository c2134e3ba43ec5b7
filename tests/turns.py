"""When messages got their turn, on Redis' own clock.

A simulator sees a request a little after its turn, and a busy machine makes that long: a burst that arrives late and
the paced messages behind it then share a second, although no limit was exceeded. So what a limit promises is held
against the turns, and the arrivals against the turns.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio import Redis

from stream.contract.identifiers import TenantId, hash_tag
from stream.delivery.ledger import KEY_PREFIX

_CLAIMED: Final = re.compile(r" state sending .* since (\d+) ")  # what a claim that may send writes; in milliseconds


@asynccontextmanager
async def turns_of(tenant: str, redis_url: str) -> AsyncIterator[list[float]]:
    """Every turn of a tenant's messages from now on, in seconds since the epoch, in the order of Redis."""
    turns: list[float] = []
    async with Redis.from_url(redis_url, decode_responses=True) as redis, redis.monitor() as monitor:
        listening = asyncio.create_task(_listen(monitor, KEY_PREFIX + hash_tag(TenantId(tenant)), turns))
        try:
            yield turns
        finally:
            listening.cancel()
            await asyncio.wait([listening])


def kept(turns: Sequence[float], rate: float, burst: int) -> bool:
    """Whether no window of time, however long or short, has more turns than a burst and what its length allows."""
    tick = 0.001  # Redis' moments are cut to a millisecond
    windows = itertools.combinations(enumerate(turns), 2)
    return all(last - first + 1 <= burst + rate * (end - start + tick) for (first, start), (last, end) in windows)


async def _listen(monitor: Any, keys: str, turns: list[float]) -> None:
    async for seen in monitor.listen():
        command = seen["command"]
        if command.startswith(f"HSET {keys}") and (claimed := _CLAIMED.search(command)):
            turns.append(int(claimed[1]) / 1000)
