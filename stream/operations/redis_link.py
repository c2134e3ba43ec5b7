"""The commands' link to Redis: the worker's own variables, and one sentence when it is away."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.operations.exits import CommandFailed, ExitCode
from stream.redis.availability import RedisAway
from stream.redis.client import connect
from stream.redis.link import RedisLink
from stream.settings.checks import redis_url
from stream.settings.secret_files import file_variable, from_file

DEFAULT_REDIS_URL: Final = "redis://localhost:6379/0"


@asynccontextmanager
async def redis_link() -> AsyncIterator[RedisLink]:
    """A link to the Redis that `REDIS_URL` (or `REDIS_URL_FILE`) names.

    Raises:
        CommandFailed: The variable is wrong, or Redis does not answer, now or later.
    """
    link = RedisLink(connect(_url(os.environ)))
    try:
        await _ping(link.redis)
        yield link
    except (RedisError, RedisAway) as error:
        raise CommandFailed(f"Redis cannot be reached: {error}; check REDIS_URL", ExitCode.UNREACHABLE) from None
    finally:
        await link.aclose()


async def _ping(redis: Redis) -> None:
    """The worker goes on without Redis; an operator must know."""
    try:
        await redis.ping()
    except OSError as error:
        raise RedisAway(str(error)) from None


def _url(environ: Mapping[str, str]) -> str:
    """Redis' address, from the same variables as the worker's.

    Raises:
        CommandFailed: One sentence that names the variable and the fix, never the value.
    """
    variable = file_variable("REDIS_URL") if environ.get(file_variable("REDIS_URL")) else "REDIS_URL"
    try:
        url = from_file("REDIS_URL", environ) or environ.get("REDIS_URL", DEFAULT_REDIS_URL)
        return redis_url(SecretStr(url)).get_secret_value()
    except ValueError as error:
        raise CommandFailed(f"{variable}: {error}", ExitCode.WRONG_USE) from None
