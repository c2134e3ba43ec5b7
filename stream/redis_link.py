"""The one connection to Redis, and what it means that it is away.

Redis makes the worker better (shared credentials, no message twice), never possible: while it is away, messages are
delivered without it. Its absence is found out once a second by one caller; the others do not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

TIMEOUT_S: Final = 1.0
PROBE_EVERY_S: Final = 1.0

log = structlog.get_logger(__name__)


class RedisAway(Exception):  # noqa: N818 - a state, not a fault of the caller
    """Redis cannot be reached: the caller goes on without it."""


def connect(url: str) -> Redis:
    """A client that gives up quickly.

    One immediate retry, because a pooled connection may have died while it was idle; redis-py's own default would
    hold a message for up to ten seconds.
    """
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


class RedisLink:
    """Asks Redis, and remembers whether it is away.

    Args:
        redis: The client.
        clock: Seconds, for the pause between probes.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.redis = redis
        self._clock = clock
        self._away_since: float | None = None
        self._next_probe = 0.0

    @property
    def away(self) -> bool:
        """Whether the last word of Redis was none."""
        return self._away_since is not None

    async def ask(self, command: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Run a command of the client.

        Raises:
            RedisAway: It cannot be reached, or was found so less than a second ago.
        """
        now = self._clock()
        if self._away_since is not None:
            if now < self._next_probe:
                raise RedisAway
            self._next_probe = now + PROBE_EVERY_S
        try:
            answer = await command(*args, **options)
        except (RedisError, OSError) as error:
            self._note_away(error)
            raise RedisAway(f"{type(error).__name__}: {error}") from None
        if self._away_since is not None:
            log.warning("redis_back", awayS=round(self._clock() - self._away_since, 1))
            self._away_since = None
        return answer

    def _note_away(self, error: Exception) -> None:
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
            log.warning(
                "redis_away",
                error=f"{type(error).__name__}: {error}",
                consequence="credentials are kept locally, and a message that is delivered again may be sent again",
            )
        self._next_probe = now + PROBE_EVERY_S
