"""The versions of a run's servers, as they report them: the result of a run depends on them."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import httpx
import redis

if TYPE_CHECKING:
    from sandbox.world import World

ASK_SECONDS = 5.0
UNKNOWN = "of unknown version"


def versions(world: World) -> str:
    """E.g. `RabbitMQ 4.3.6, Redis 8.0.6, Python 3.14.0`; a server that does not report one is of unknown version."""
    return f"RabbitMQ {_rabbitmq(world)}, Redis {_redis(world.redis.url)}, Python {platform.python_version()}"


def _rabbitmq(world: World) -> str:
    login = (world.rabbitmq.username, world.rabbitmq.password)
    try:
        answer = httpx.get(f"{world.rabbitmq.management_url}/api/overview", auth=login, timeout=ASK_SECONDS)
        return str(answer.raise_for_status().json()["rabbitmq_version"])
    except (httpx.HTTPError, ValueError, KeyError):
        return UNKNOWN


def _redis(url: str) -> str:
    try:
        with redis.Redis.from_url(url, socket_timeout=ASK_SECONDS) as client:
            return str(client.info("server")["redis_version"])
    except (redis.RedisError, KeyError):
        return UNKNOWN
