"""The client of a Redis Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.redis.address import Address


class Cluster(RedisCluster):
    """redis-py's, of whose errors some are no `RedisError`: here they all are.

    Attributes:
        most_s: How long a command may take in seconds, with all that redis-py tries again: it asks nodes that do not
            answer one after the other. None: as long as that takes.
    """

    most_s: float | None = None

    async def initialize(self, *args: Any, **options: Any) -> RedisCluster:
        """Read which node has which keys, if that is not known.

        Raises:
            RedisError: No node answers, or some keys have no master.
        """
        with _errors_of_redis():
            return await super().initialize(*args, **options)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command where its key is, or where redis-py thinks best.

        Raises:
            RedisError: It cannot be run.
        """
        with _errors_of_redis():
            try:
                async with asyncio.timeout(self.most_s):
                    await self.initialize()  # first: redis-py's own wait for it does not wait for all of it
                    return await super().execute_command(*args, **options)
            except TimeoutError:
                raise RedisTimeoutError(f"no answer within {self.most_s} s") from None

    async def read_map(self) -> None:
        """Read again which node has which keys.

        Raises:
            RedisError: No node answers, or some keys have no master.
        """
        with _errors_of_redis():
            await self.initialize()
            await self.nodes_manager.initialize()

    def node_of(self, key: str) -> ClusterNode:
        """The master that has a key, as far as is known."""
        return self.nodes_manager.get_node_from_slot(self.keyslot(key))

    def node_at(self, host: str, port: int) -> ClusterNode:
        """A node, which may be new."""
        options: dict[str, Any] = self.get_connection_kwargs()
        return ClusterNode(host, port, **options)


@contextmanager
def _errors_of_redis() -> Iterator[None]:
    """When the cluster is down, redis-py closes each connection, also one that another command is just opening."""
    try:
        yield
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from None
    except (AttributeError, RuntimeError) as error:
        raise RedisConnectionError(f"{type(error).__name__}: {error}") from None


def cluster_of(address: Address, **terms: Any) -> Cluster:
    """A client of the cluster."""
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    return cast("Cluster", Cluster.from_url(address.server, startup_nodes=nodes, **terms))
