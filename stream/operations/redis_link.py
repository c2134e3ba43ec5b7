"""The commands' link to Redis: the worker's own variables, and one sentence when it is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from stream.operations.environment import redis_address
from stream.operations.exits import CommandFailed, ExitCode
from stream.redis.availability import RedisAway
from stream.redis.client import Client, connect_patiently
from stream.redis.link import RedisLink


@asynccontextmanager
async def redis_link() -> AsyncIterator[RedisLink]:
    """A link to the Redis that `REDIS_URL` (or `REDIS_URL_FILE`) names.

    Raises:
        CommandFailed: The variable is wrong, or Redis does not answer, now or later.
    """
    link = RedisLink(connect_patiently(redis_address()))
    try:
        await _ping(link.redis)
        yield link
    except (RedisError, RedisAway) as error:
        raise CommandFailed(redis_is_away(error), ExitCode.UNREACHABLE) from None
    finally:
        await link.aclose()


def redis_is_away(error: Exception) -> str:
    """One sentence for people."""
    return f"Redis cannot be reached: {error}; check REDIS_URL"


async def _ping(redis: Client) -> None:
    """The worker goes on without Redis; an operator must know."""
    try:
        await redis.ping()
    except OSError as error:
        raise RedisAway(str(error)) from None
