"""The one link to Redis: all other code asks Redis through it, and gets `RedisAway` when Redis is away."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from stream.redis.availability import Availability, RedisAway
from stream.redis.client import BatchConnection
from stream.redis.scripts import Part, Script, ScriptBatches

PROBE_KEY: Final = "whatsapp-stream:probe"
# A write, because a Redis that is full or a replica answers reads, but cannot be used.
_PROBE: Final = Script("return redis.call('SET', KEYS[1], '1', 'PX', 1000)")


class RedisLink:
    """Asks Redis, and remembers whether it is away.

    Args:
        redis: The client.
        on_refused: Called with the number of commands that were refused because of the value of their key.
        clock: Seconds, for the pause between probes.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        on_refused: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.redis = redis
        self._availability = Availability(on_refused=on_refused, clock=clock)
        self._connection = BatchConnection(redis)
        self._scripts = ScriptBatches(self._connection, self._availability)

    @property
    def away(self) -> bool:
        """Whether Redis, when last asked, did not answer or could not be used."""
        return self._availability.away

    async def ask(self, command: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Run a command of the client, on its own.

        Raises:
            RedisAway: Redis cannot be reached, was found so less than a second ago, or refuses this command.
        """
        self._availability.enter()
        try:
            answer = await command(*args, **options)
        except ResponseError as error:
            if not self._availability.note_refusals([error]):
                await self._connection.drop_all()
            raise RedisAway.because(error) from None
        except (RedisError, OSError) as error:
            self._availability.note_away(error)
            raise RedisAway.because(error) from None
        self._availability.note_there()
        return answer

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
        """
        self._availability.enter()
        return await self._scripts.send(script, keys, args)

    async def watch(self) -> None:
        """Ask at once, then every second while Redis is away. Never ends. So the state is known before any message."""
        await self._availability.watch(lambda: self.run(_PROBE, (PROBE_KEY,), ()))

    async def aclose(self) -> None:
        """Close the client; callers that still wait for an answer get `RedisAway`."""
        self._availability.close()
        await self._scripts.aclose()
        await self.redis.aclose()
