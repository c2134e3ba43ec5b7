"""Whether Redis is away: how that is noticed and said, and who asks again.

The worker delivers without Redis too. What Redis adds is that the replicas share credentials and that no message is
sent twice. While it is away, one caller a second finds out whether it is back; the others do not wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import structlog
from redis.exceptions import ResponseError

PROBE_EVERY_S: Final = 1.0
# How errors begin that lie in what a key holds. Redis 7 and 8 say them alike, and redis-py takes "ERR " off before. All
# others count as the server's: a refusal for want of permission, for instance, has other words in each version.
KEYS_OWN_FAULT: Final = (
    "WRONGTYPE",  # a command met another type
    "user_script:",  # Lua could not work with a value
    "Lua redis lib command arguments must be",  # a value that is not there was to be written
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
        """The same, in the words of the error that said so."""
        return cls(_words(error), may_have_run=may_have_run)


class Availability:
    """What the last answer of Redis, or its silence, said about it.

    Args:
        on_refused: Told how many commands were refused for what their keys hold.
        clock: Seconds, for the pause between probes.
    """

    def __init__(
        self, *, on_refused: Callable[[int], None] = lambda _: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_refused = on_refused
        self._clock = clock
        self._away_since: float | None = None
        self._next_probe = 0.0
        self._closed = False

    @property
    def away(self) -> bool:
        """Whether Redis did not answer, or was of no use, when it was last asked."""
        return self._away_since is not None

    def enter(self) -> None:
        """Let a caller ask Redis; while it is away, one caller a second.

        Raises:
            RedisAway: It was found so less than a second ago, or nobody is to ask any more.
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
            log.warning("redis_back", awayS=round(self._clock() - self._away_since, 1))
            self._away_since = None

    def note_away(self, error: Exception) -> None:
        """Redis has not answered, or is of no use to anyone."""
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
            log.warning(
                "redis_away",
                error=_words(error),
                consequence="credentials are kept locally, and a message that is delivered again may be sent again",
            )
        self._next_probe = now + PROBE_EVERY_S

    def note_refusals(self, refusals: Sequence[ResponseError]) -> bool:
        """Redis has answered, with these refusals among its answers, or with none.

        Read-only, full, no permission: it is of no use to anyone. A key of another type: the trouble of one message.

        Returns:
            Whether Redis is there.
        """
        for error in refusals:
            if not str(error).startswith(KEYS_OWN_FAULT):
                self.note_away(error)
                return False
        if refusals:
            self._on_refused(len(refusals))
            log.warning("redis_refused", error=str(refusals[0]), commands=len(refusals))
        self.note_there()
        return True

    async def watch(self, probe: Callable[[], Awaitable[Any]]) -> None:
        """Ask at once, then every second while Redis is away, for ever: its state is known without any message.

        Args:
            probe: Asks Redis, and notes here what it answers.
        """
        due = True
        while True:
            if due:
                with suppress(RedisAway):
                    await probe()
            await asyncio.sleep(PROBE_EVERY_S)
            due = self.away

    def close(self) -> None:
        """Let nobody ask any more."""
        self._closed = True


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
