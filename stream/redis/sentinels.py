"""The master that Sentinels know: a client that asks them for its address before each connection it opens."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any, Final

import structlog
from redis.asyncio import Redis, Sentinel
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.redis.address import Address

_WHERE: Final = {"host", "port"}

log = structlog.get_logger(__name__)


class _NoAnswerError(RedisConnectionError):
    """Why a Sentinel did not answer; redis-py quotes the `repr`, which has no reason from redis-py 8 on."""

    def __repr__(self) -> str:
        return str(self)


class _OneSentinel(Redis):
    """A client of a Sentinel; redis-py quotes its `repr` too, here without the login."""

    def __repr__(self) -> str:
        options = self.connection_pool.connection_kwargs
        return f"{options['host']}:{options['port']}"

    async def sentinel_masters(self) -> Any:
        """What it knows of each master.

        Raises:
            _NoAnswerError: Nothing, because it cannot be reached or refuses the login.
        """
        try:
            return await super().sentinel_masters()
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise _NoAnswerError(str(error)) from None


class Sentinels(Sentinel):
    """redis-py's, asked in turn: one that is cut off from the others may go on to name a master that is cut off too.

    Args:
        hosts: Host and port of each.
        options: How the connections to them are made.
    """

    def __init__(self, hosts: tuple[tuple[str, int], ...], options: dict[str, Any]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self.sentinels = [_OneSentinel(host=host, port=port, **options) for host, port in hosts]

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """The master's address.

        Raises:
            MasterNotFoundError: No Sentinel that answers knows a master of this name that is up.
        """
        asked = list(self.sentinels)  # redis-py changes their order, and other questions run meanwhile
        self.sentinels.append(self.sentinels.pop(0))
        return await _named(service_name, asked)

    async def agreed_master(self, service_name: str) -> tuple[str, int] | None:
        """The address of the master that more than half of all Sentinels name, if there is one."""
        named = Counter[tuple[str, int]]()
        for sentinel in list(self.sentinels):
            with suppress(RedisError):
                named[await _named(service_name, [sentinel])] += 1
        return next((address for address, votes in named.items() if 2 * votes > len(self.sentinels)), None)


async def _named(service_name: str, asked: list[Redis]) -> tuple[str, int]:
    """What the first one that answers names."""
    question = Sentinel([])  # type: ignore[no-untyped-call]
    question.sentinels = asked
    try:
        address: tuple[str, int] = await question.discover_master(service_name)
    finally:  # the next question may come in hours, or never
        for sentinel in asked:
            await sentinel.connection_pool.disconnect(inuse_connections=False)
    return address


async def has_moved(redis: Redis, known: tuple[str, int]) -> bool:
    """Whether most Sentinels name another master than the one that is written to.

    It takes writes until they have told it that it is none, which may be ten seconds later: all of that is forgotten.
    One of them is asked first, and the others only if it says so: one that is cut off names a former master for long.

    Args:
        redis: The client.
        known: Host and port of what is written to. What the client's pool knows may be newer than its connections.
    """
    pool = redis.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return False
    sentinels, name = pool.sentinel_manager, pool.service_name
    with suppress(RedisError, OSError):  # no Sentinel answers, or they do not agree: it stays
        if await sentinels.discover_master(name) == known or await sentinels.agreed_master(name) in {None, known}:
            return False
        log.warning("redis_master_moved", consequence="what the former one took last may be forgotten")
        return True
    return False


async def warn_if_it_writes_alone(redis: Redis) -> None:
    """Log that a master behind Sentinels would go on to take writes when it is cut off from its replicas."""
    if not isinstance(redis.connection_pool, SentinelConnectionPool):
        return
    with suppress(RedisError):  # it is away, which is told elsewhere, or does not let this user ask
        facts = await redis.info("replication")
        if "min_slaves_good_slaves" not in facts:  # there with `min-replicas-to-write` only
            log.warning(
                "redis_master_writes_alone",
                consequence="what it takes while it is cut off is forgotten: a copy that comes later is sent again",
                fix="set min-replicas-to-write 1",
            )


def master_of(address: Address, timeout_s: float, **terms: Any) -> Redis:
    """A client of the master.

    Args:
        address: The Sentinels, and all the rest.
        timeout_s: How long all questions to the Sentinels may take, in seconds: some are on a machine that is gone.
        terms: How the connections to the master are made.
    """
    server: dict[str, Any] = {name: value for name, value in parse_url(address.server).items() if name not in _WHERE}
    server["ssl"] = server.pop("connection_class", None) is SSLConnection
    tls = {name: value for name, value in server.items() if name.startswith("ssl")}
    each_s = timeout_s / (len(address.hosts) + 1)
    sentinels = Sentinels(
        address.hosts,
        {
            **address.sentinel_login,
            **tls,
            "socket_timeout": each_s,
            "socket_connect_timeout": each_s,
            "retry": Retry(NoBackoff(), 0),  # the next one is asked at once; redis-py's own would wait for seconds
        },
    )
    master: Redis = sentinels.master_for(address.master, **server, **terms)
    return master
