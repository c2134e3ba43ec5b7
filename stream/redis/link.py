"""The one link to Redis: all other code asks Redis through it, and gets `RedisAway` when Redis is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from stream.redis.availability import PROBE_EVERY_S, Availability, RedisAway
from stream.redis.client import Client
from stream.redis.cluster import Cluster
from stream.redis.connection import BatchConnection
from stream.redis.masters import Masters
from stream.redis.sentinels import has_moved, warn_if_it_writes_alone
from stream.redis.server import Server

MOST_AT_ONCE: Final = 50  # single commands; each takes a connection, of which redis-py's pools have 100 since version 8


class RedisLink:
    """Asks Redis, and remembers whether it is away.

    Args:
        redis: The client.
        on_refused: Called with the number of commands that were refused because of the value of their key.
        clock: Seconds, for the pause between probes.

    Attributes:
        run: Runs a script: `Server.run`, or `Masters.run` with a Redis Cluster.
    """

    def __init__(
        self,
        redis: Client,
        *,
        on_refused: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.redis = redis
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        noted = partial(Availability, on_refused=on_refused, clock=clock)
        self._availability = noted()  # of single commands and, but for a cluster's, of scripts
        self._servers: Server | Masters
        if isinstance(redis, Cluster):
            self._servers = Masters(redis, self.ask, noted)
        else:
            self._servers = Server(BatchConnection(redis), self._availability)
        self.run = self._servers.run

    @property
    def away(self) -> bool:
        """Whether Redis, or a part of it, when last asked, did not answer or could not be used."""
        return self._availability.away or self._servers.away

    async def ask(self, command: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Run a command of the client, on its own, once fewer than `MOST_AT_ONCE` others run.

        Raises:
            RedisAway: Redis cannot be reached, was found so less than a second ago, or refuses this command.
        """
        async with self._places:
            return await self._ask(command, *args, **options)

    async def _ask(self, command: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        self._availability.enter()
        try:
            answer = await command(*args, **options)
        except ResponseError as error:
            if not self._availability.note_refusals([error]):
                await self._servers.leave()
            raise RedisAway.because(error) from None
        except (RedisError, OSError) as error:
            self._availability.note_away(error)
            raise RedisAway.because(error) from None
        self._availability.note_there()
        return answer

    async def watch(self) -> None:
        """Probe at once, so that the state is known before any message, then each second while away. Never ends.

        Each second, too, leave a master that is none any more by what the Sentinels say.
        """
        if isinstance(self.redis, Redis):
            await warn_if_it_writes_alone(self.redis)
        due = True
        while True:
            if due:
                with suppress(RedisAway):
                    await self._servers.probe()
            await asyncio.sleep(PROBE_EVERY_S)
            await self._leave_a_former_master()
            due = self.away

    async def _leave_a_former_master(self) -> None:
        if isinstance(self.redis, Redis) and isinstance(self._servers, Server):
            known = self._servers.address
            if known is not None and await has_moved(self.redis, known):
                await self._servers.leave()

    async def aclose(self) -> None:
        """Close the client; callers that still wait for an answer get `RedisAway`."""
        self._availability.close()
        await self._servers.aclose()
        await self.redis.aclose()
