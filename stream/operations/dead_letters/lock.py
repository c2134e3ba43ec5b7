"""One operator at a time takes letters off the queue; the others are told who it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import orjson
from redis.exceptions import RedisError

from stream.operations.exits import CommandFailed, ExitCode
from stream.redis.client import Client

KEY: Final = "whatsapp-stream:dead-letters:lock"
LEASE_MS: Final = 10_000
RENEW_S: Final = 2.0

_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


@asynccontextmanager
async def locked(redis: Client, facts: dict[str, str], on_lost: Callable[[ExitCode], None]) -> AsyncIterator[None]:
    """Hold the lock.

    Args:
        redis: The client.
        facts: Who holds it, since when, for what; different for each holder.
        on_lost: Called when it is no longer certain that this process holds it, with what the command is to end with.

    Raises:
        CommandFailed: Somebody else holds it.
    """
    client: Any = redis
    value = orjson.dumps(facts)
    await _acquire(client, value)
    renewing = asyncio.create_task(_renew(client, value, on_lost))
    try:
        yield
    finally:
        renewing.cancel()
        with suppress(RedisError):  # it ends by itself, and how the work ended must be told
            await client.eval(_RELEASE, 1, KEY, value)


@asynccontextmanager
async def naming_the_holder(redis: Client) -> AsyncIterator[None]:
    """Say who holds the lock where a look fails because somebody else reads the queue.

    Raises:
        CommandFailed: The look's own failure, or the one that names the holder.
    """
    try:
        yield
    except CommandFailed as failed:
        client: Any = redis
        if failed.code is ExitCode.LOCKED and (holder := await client.get(KEY)):
            raise _held_by(holder) from None
        raise


async def work_under_lock(redis: Client) -> str:
    """What the holder of the lock does; empty if there is none."""
    client: Any = redis
    holder = await client.get(KEY)
    return str(orjson.loads(holder)["what"]) if holder else ""


def _held_by(holder: bytes) -> CommandFailed:
    held = orjson.loads(holder)
    return CommandFailed(
        f"{held['who']} works on the dead letters since {held['since']}: {held['what']}", ExitCode.LOCKED
    )


async def _acquire(client: Any, value: bytes) -> None:
    """Take the lock; wait for the end of one that nobody renews, as its holder has died."""
    while not await client.set(KEY, value, nx=True, px=LEASE_MS):
        holder, left_ms = await client.get(KEY), await client.pttl(KEY)
        await asyncio.sleep(RENEW_S * 1.25)
        if await client.get(KEY) == holder and await client.pttl(KEY) < left_ms - 1000 * RENEW_S:
            continue  # not renewed meanwhile
        if holder and await client.exists(KEY):
            raise _held_by(holder)


async def _renew(client: Any, value: bytes, on_lost: Callable[[ExitCode], None]) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            held = await client.eval(_RENEW, 1, KEY, value, LEASE_MS)
        except (RedisError, OSError):
            on_lost(ExitCode.UNREACHABLE)
            return
        if not held:
            on_lost(ExitCode.STOPPED)
            return
