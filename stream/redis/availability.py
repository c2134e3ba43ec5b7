"""Whether Redis is away: how the worker notices and logs that, and when it asks again.

The worker delivers without Redis too. What Redis adds is that the replicas share credentials and that no message is
sent twice. While it is away, one caller a second finds out whether it is back; the others do not wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Self

import structlog
from redis.exceptions import ResponseError

PROBE_EVERY_S: Final = 1.0
# How the errors begin whose cause is the value of one key. Redis 7 and 8 use the same texts; redis-py removes a leading
# "ERR ". All others count as errors of the server: their texts (a missing permission, say) vary by version.
KEY_ERRORS: Final = (
    "WRONGTYPE",  # a command met another type
    "user_script:",  # Lua could not work with a value
    "Lua redis lib command arguments must be",  # a script writes a value that is missing
    "hash value is not an integer",  # HINCRBY
)

log = structlog.get_logger(__name__)


class RedisAway(Exception):  # noqa: N818 - a state, not a fault of the caller
    """Redis cannot be reached: the caller goes on without it.

    Args:
        reason: Why, for people.
        may_have_run: The script left, and its answer was lost: Redis may have run it.
    """

    def __init__(self, reason: str = "", *, may_have_run: bool = False) -> None:
        super().__init__(reason)
        self.may_have_run = may_have_run

    @classmethod
    def because(cls, error: Exception, *, may_have_run: bool = False) -> Self:
        """A `RedisAway` with the text of the error that caused it."""
        return cls(_words(error), may_have_run=may_have_run)


class Availability:
    """Whether Redis is there, judged by its last answer or by a missing one.

    Args:
        master: Which master of a Redis Cluster; empty if there is but one Redis.
        on_refused: Called with the number of commands that were refused because of the value of their key.
        clock: Seconds, for the pause between probes.
    """

    def __init__(
        self,
        master: str = "",
        *,
        on_refused: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._who = {"master": master} if master else {}
        self._on_refused = on_refused
        self._clock = clock
        self._away_since: float | None = None
        self._next_probe = 0.0
        self._closed = False

    @property
    def away(self) -> bool:
        """Whether Redis, when last asked, did not answer or could not be used."""
        return self._away_since is not None

    def enter(self) -> None:
        """Let a caller ask Redis; while it is away, one caller a second.

        Raises:
            RedisAway: Redis was found away less than a second ago, or the link is closed.
        """
        if self._closed:
            raise RedisAway("closed")
        if self._away_since is None:
            return
        now = self._clock()
        if now < self._next_probe:
            raise RedisAway
        self._next_probe = now + PROBE_EVERY_S

    def note_there(self) -> None:
        """Redis has answered."""
        if self._away_since is not None:
            log.warning("redis_back", **self._who, awayS=round(self._clock() - self._away_since, 1))
            self._away_since = None

    def note_away(self, error: Exception) -> None:
        """Redis has not answered, or cannot be used."""
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
            log.warning(
                "redis_away",
                **self._who,
                error=_words(error),
                consequence="credentials are kept locally, and a message that is delivered again may be sent again",
            )
        self._next_probe = now + PROBE_EVERY_S

    def note_refusals(self, refusals: Sequence[ResponseError]) -> bool:
        """Redis has answered, with these refusals among its answers, or with none.

        Read-only, full, no permission: nothing can use Redis now. A key of another type: only one message is concerned.

        Returns:
            Whether Redis is there.
        """
        for error in refusals:
            if not str(error).startswith(KEY_ERRORS):
                self.note_away(error)
                return False
        if refusals:
            self._on_refused(len(refusals))
            log.warning("redis_refused", **self._who, error=str(refusals[0]), commands=len(refusals))
        self.note_there()
        return True

    def close(self) -> None:
        """From now on, refuse every caller."""
        self._closed = True


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
