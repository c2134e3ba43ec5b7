"""A server of Redis, or whatever its name leads to: scripts are sent to it in batches while it is there."""

from __future__ import annotations

from typing import Any, Final

from redis.exceptions import ResponseError

from stream.redis.availability import Availability
from stream.redis.connection import BatchConnection
from stream.redis.scripts import Part, Script, ScriptBatches

PROBE_KEY: Final = "whatsapp-stream:probe"
# A write, because a Redis that is full or a replica answers reads, but cannot be used.
_PROBE: Final = Script("return redis.call('SET', KEYS[1], '1', 'PX', 1000)")


class Server:
    """Asks one server, and remembers whether it is away.

    Args:
        connection: What the batches are sent on.
        availability: Whether it is away, as its answers show.
        passed_on: Refusals that are the caller's to understand, and say nothing about the server.
    """

    def __init__(
        self,
        connection: BatchConnection,
        availability: Availability,
        passed_on: tuple[type[ResponseError], ...] = (),
    ) -> None:
        self._connection = connection
        self._availability = availability
        self._scripts = ScriptBatches(connection, availability, passed_on)

    @property
    def away(self) -> bool:
        """Whether it, when last asked, did not answer or could not be used."""
        return self._availability.away

    async def run(self, script: Script, keys: tuple[str, ...], args: tuple[Part, ...]) -> Any:
        """Run a script, together with what others run at the same time.

        It may run twice: see `ScriptBatches.send`. A caller that is cancelled while its command waits takes it back;
        once it has left, it runs.

        Args:
            script: What to run.
            keys: Its `KEYS`.
            args: Its `ARGV`.

        Raises:
            RedisAway: Redis cannot be reached, was found so less than a second ago, or refuses this command; it says
                whether the script may have run nevertheless.
            ResponseError: One of those that are passed on.
        """
        self._availability.enter()
        return await self._scripts.send(script, keys, args)

    async def probe(self, key: str = PROBE_KEY) -> None:
        """Ask it whether it can be used.

        Raises:
            RedisAway: It cannot.
        """
        await self.run(_PROBE, (key,), ())

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of what the scripts are sent to, while that is connected."""
        return self._connection.address

    async def leave(self) -> None:
        """Drop all connections: its name may lead to another one by now."""
        await self._connection.drop_all()

    async def aclose(self) -> None:
        """Stop; callers that still wait for an answer get `RedisAway`."""
        self._availability.close()
        await self._scripts.aclose()
