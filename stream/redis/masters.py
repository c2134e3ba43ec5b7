"""The masters of a Redis Cluster: each has batches of its own, and is away on its own.

So the tenants whose keys are on a master that has died are without Redis until its replica has taken over, and the
others notice nothing. redis-py knows which master has which keys. Of its own commands it follows where keys have
moved to; for the batches that is done here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import structlog
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import AskError, MovedError, RedisError, TryAgainError

from stream.redis.availability import Availability, RedisAway
from stream.redis.client import TIMEOUT_S
from stream.redis.cluster import Cluster
from stream.redis.connection import NodeConnection
from stream.redis.scripts import Part, Script, pack
from stream.redis.server import PROBE_KEY, Server

PROBE_KEYS: Final = tuple(f"{PROBE_KEY}:{number}" for number in range(256))  # some are on each master
MOST_TRIES: Final = 10  # of a script whose keys are on their way to another master
MOVING_S: Final = 0.05  # between two of them: Redis moves some hundred keys in that time

log = structlog.get_logger(__name__)


class Masters:
    """Sends each script to the master that has its keys, which are all in one slot.

    Args:
        cluster: The client.
        ask: Runs a command of the client.
        availability: Makes what a master's answers are noted in, from its name.
    """

    def __init__(
        self,
        cluster: Cluster,
        ask: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
        availability: Callable[[str], Availability],
    ) -> None:
        self._cluster = cluster
        self._ask = ask
        self._availability = availability
        self._masters: dict[str, Server] = {}
        self._reading = asyncio.Lock()
        self._reads = 0

    @property
    def away(self) -> bool:
        """Whether a master, when last asked, did not answer or could not be used."""
        return any(master.away for master in self._masters.values())

    async def run(self, script: Script, keys: tuple[str, ...], args: tuple[Part, ...]) -> Any:
        """Run a script: see `Server.run`.

        Raises:
            RedisAway: Their master is away, or the keys are between two masters for too long.
        """
        for _ in range(MOST_TRIES):
            try:
                return await self._run_once(script, keys, args)
            except MovedError:
                await self._read_map()  # of any node, which may learn of it later than the one that has told
            except TryAgainError:
                pass  # some of the keys are here, and some are there already
            await asyncio.sleep(MOVING_S)
        raise RedisAway("the keys are on their way to another master")

    async def probe(self) -> None:
        """Read which master has which keys, probe each, and forget those that are none any more.

        Raises:
            RedisAway: No node answers.
        """
        await self._read_map()
        one_each = {self._cluster.node_of(key).name: key for key in PROBE_KEYS}
        for key in one_each.values():
            with suppress(RedisAway, AskError, TryAgainError):
                await self._master(self._cluster.node_of(key)).probe(key)
        for name in set(self._masters) - {node.name for node in self._cluster.get_primaries()}:
            log.warning("redis_master_replaced", master=name)
            await _close(self._masters.pop(name))

    async def leave(self) -> None:
        """Drop the connections of single commands; those of the batches are each master's own."""
        await self._cluster.aclose()

    async def aclose(self) -> None:
        """Stop; callers that still wait for an answer get `RedisAway`."""
        for master in self._masters.values():
            await _close(master)

    async def _run_once(self, script: Script, keys: tuple[str, ...], args: tuple[Part, ...]) -> Any:
        node = await self._node_of(keys[0])
        try:
            return await self._master(node).run(script, keys, args)
        except MovedError:
            raise
        except AskError as asked:
            return await self._run_there(asked, script, (len(keys), *keys, *args))

    async def _run_there(self, asked: AskError, script: Script, arguments: tuple[Part, ...]) -> Any:
        """Run a script once at the master that its key is moving to; redis-py asks on two connections, in vain."""
        connection = NodeConnection(self._cluster.node_at(asked.host, asked.port))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await connection.open()
                _, answer = await connection.exchange([pack(("ASKING",)), pack(("EVAL", script.text, *arguments))])
        except (RedisError, OSError) as error:
            raise RedisAway.because(error, may_have_run=True) from None
        finally:
            await connection.drop()
        if isinstance(answer, MovedError | TryAgainError):
            raise answer
        if isinstance(answer, RedisError):
            raise RedisAway.because(answer)
        return answer

    def _master(self, node: ClusterNode) -> Server:
        if node.name not in self._masters:
            passed_on = (AskError, TryAgainError)  # a `MovedError` is an `AskError`
            self._masters[node.name] = Server(NodeConnection(node), self._availability(node.name), passed_on)
        return self._masters[node.name]

    async def _node_of(self, key: str) -> ClusterNode:
        if not self._cluster.get_nodes():
            await self._read_map()
        return self._cluster.node_of(key)

    async def _read_map(self) -> None:
        """Read which master has which keys, once for all who want that at the same time."""
        reads = self._reads
        async with self._reading:
            if self._reads == reads:
                await self._ask(self._cluster.read_map)
                self._reads += 1


async def _close(master: Server) -> None:
    await master.aclose()
    await master.leave()
