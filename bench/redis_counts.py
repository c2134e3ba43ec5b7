"""What Redis has done, by its own count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import Redis


@dataclass(frozen=True, slots=True)
class RedisCounts:
    """Counts since the server's start.

    Attributes:
        commands: Commands, those inside of scripts included.
        reads: Times that Redis read requests from a connection: one is a round trip, unless two requests came at once.
    """

    commands: int
    reads: int

    def __sub__(self, earlier: RedisCounts) -> RedisCounts:
        return RedisCounts(self.commands - earlier.commands, self.reads - earlier.reads)


class RedisCounter:
    """Asks Redis, and does not count its own questions.

    Args:
        url: `REDIS_URL`.
    """

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)
        self._asked = 0
        self._redis.ping()  # the connection is made before the first count

    def counts(self) -> RedisCounts:
        """The counts so far."""
        info: dict[str, Any] = self._redis.info("stats")
        self._asked += 1
        return RedisCounts(
            int(info["total_commands_processed"]) - self._asked, int(info["total_reads_processed"]) - self._asked
        )

    def memory(self) -> int:
        """What Redis holds, in bytes."""
        info: dict[str, Any] = self._redis.info("memory")
        self._asked += 1
        return int(info["used_memory"])

    def store(self, entries: dict[str, bytes], ttl_ms: int) -> None:
        """Write entries that end after `ttl_ms` milliseconds; between measurements only, because it is counted."""
        pipeline = self._redis.pipeline(transaction=False)
        for key, value in entries.items():
            pipeline.set(key, value, px=ttl_ms)
        pipeline.execute()

    def close(self) -> None:
        """Disconnect."""
        self._redis.close()
