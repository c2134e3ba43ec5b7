"""The master that Sentinels know: a client that asks them for its address before each connection it opens."""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis, Sentinel
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff

from stream.redis.address import Address

_WHERE: Final = {"host", "port"}


class Sentinels(Sentinel):
    """redis-py's, with one short sentence when they know no master: its own may show how it logs in."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """The master's address.

        Raises:
            MasterNotFoundError: No Sentinel that answers knows a master of this name that is up.
        """
        try:
            address: tuple[str, int] = await super().discover_master(service_name)
        except MasterNotFoundError:
            raise MasterNotFoundError(
                f"no Sentinel that answers knows a master {service_name} that is up (or it refuses the login)"
            ) from None
        finally:  # the next question may come in hours, or never
            for sentinel in self.sentinels:
                await sentinel.connection_pool.disconnect(inuse_connections=False)
        return address


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
    sentinels = Sentinels(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs={
            **address.sentinel_login,
            **tls,
            "socket_timeout": each_s,
            "socket_connect_timeout": each_s,
            "retry": Retry(NoBackoff(), 0),  # the next one is asked at once; redis-py's own would wait for seconds
        },
    )
    master: Redis = sentinels.master_for(address.master, **server, **terms)
    return master
