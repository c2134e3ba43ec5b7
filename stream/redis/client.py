"""How the worker reaches Redis: a client that gives up quickly, and the one connection for batches."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

TIMEOUT_S: Final = 1.0
TRIES: Final = 4


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
        retry_on_error=[RedisConnectionError],  # redis-py before 6 retries only the errors named here
    )


def connect_patiently(url: str) -> Redis:
    """A client for whoever can wait: it tries `TRIES` times within five seconds.

    A command that timed out may have run: this is for those that may run twice.
    """
    lost = (RedisConnectionError, RedisTimeoutError)
    return Redis.from_url(
        url,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(ExponentialBackoff(cap=TIMEOUT_S, base=0.1), TRIES - 1, supported_errors=lost),
        retry_on_error=list(lost),
    )


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
        """Taken from the pool and never returned; the pool closes it with the others."""
        taken: AbstractConnection = self._redis.connection_pool.get_available_connection()  # type: ignore[no-untyped-call]
        taken.socket_timeout = None
        return taken

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
