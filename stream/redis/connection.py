"""The one connection to a server of Redis for batches of scripts."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, Connection
from redis.exceptions import RedisError, ResponseError, TryAgainError

NOT_LOCAL: Final = "Script attempted to access a non local key"  # Redis 7 and 8 say so


class BatchConnection:
    """One connection of a client's pool: many commands are sent in one write, and their answers come in one read.

    A level below redis-py's pipeline, a command costs a third: a pipeline takes and returns a connection for each
    batch, and sets and clears a timeout for each answer. Here a caller sets one timeout for a whole batch.

    Args:
        redis: The client.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @cached_property
    def _connection(self) -> AbstractConnection:
        taken = self._take()
        taken.socket_timeout = None
        return taken

    def _take(self) -> AbstractConnection:
        """From the pool and never returned; the pool closes it with the others."""
        taken: AbstractConnection = self._redis.connection_pool.get_available_connection()  # type: ignore[no-untyped-call]
        return taken

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of the server that it leads to, while it is connected over TCP."""
        connection = self._connection
        return (
            (connection.host, connection.port)
            if isinstance(connection, Connection) and connection.is_connected
            else None
        )

    async def open(self) -> None:
        """Connect, if it is not connected.

        Raises:
            RedisError: Redis cannot be reached.
        """
        if not self._connection.is_connected:
            await self._connection.connect()  # type: ignore[no-untyped-call]

    async def exchange(self, commands: list[bytes]) -> list[Any]:
        """Send packed commands, and wait for their answers without a bound in time.

        Returns:
            An answer for each command, in their order; a `ResponseError` where Redis refused one.

        Raises:
            RedisError: The connection broke. Redis may have run some of them, or all.
        """
        connection = self._connection
        await connection.send_packed_command(commands)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except ResponseError as error:
                answers.append(error)
        return answers

    async def drop(self) -> None:
        """Disconnect at once: an answer that came later would count as an answer to the next batch."""
        await self._connection.disconnect(nowait=True)

    async def drop_all(self) -> None:
        """Disconnect the pool's idle connections too: after a failover, the host name leads to another server."""
        with suppress(RedisError, OSError):
            await self.drop()
            await self._redis.connection_pool.disconnect(inuse_connections=False)


class NodeConnection(BatchConnection):
    """The same to a node of a Redis Cluster.

    It belongs to no pool: redis-py closes the connections to all nodes when one of them is in trouble.

    Args:
        node: The node.
    """

    def __init__(self, node: ClusterNode) -> None:
        self._node = node

    def _take(self) -> AbstractConnection:
        made: AbstractConnection = self._node.connection_class(**self._node.connection_kwargs)
        return made

    async def exchange(self, commands: list[bytes]) -> list[Any]:
        """The same, with a `TryAgainError` where a script was stopped because its key is moving to another node."""
        return [_try_again(answer) for answer in await super().exchange(commands)]

    async def drop_all(self) -> None:
        """Disconnect: there is no other connection."""
        await self.drop()


def _try_again(answer: Any) -> Any:
    """While a slot moves, a script that deletes a key and writes it again is stopped between the two."""
    stopped = isinstance(answer, ResponseError) and str(answer).startswith(NOT_LOCAL)
    return TryAgainError(str(answer)) if stopped else answer
