"""The client of a Redis Cluster."""

from __future__ import annotations

from typing import Any, cast

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException

from stream.redis.address import Address


class Cluster(RedisCluster):
    """redis-py's, of whose errors some are no `RedisError`: here they all are."""

    async def initialize(self, *args: Any, **options: Any) -> RedisCluster:
        """Read which node has which keys, if that is not known.

        Raises:
            RedisError: No node answers, or some keys have no master.
        """
        try:
            return await super().initialize(*args, **options)
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command where its key is, or where redis-py thinks best.

        Raises:
            RedisError: It cannot be run.
        """
        try:
            await self.initialize()  # first: redis-py's own wait for it does not wait for all of it
            return await super().execute_command(*args, **options)
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from None

    async def read_map(self) -> None:
        """Read again which node has which keys.

        Raises:
            RedisError: No node answers, or some keys have no master.
        """
        try:
            await self.initialize()
            await self.nodes_manager.initialize()
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from None

    def node_of(self, key: str) -> ClusterNode:
        """The master that has a key, as far as is known."""
        return self.nodes_manager.get_node_from_slot(self.keyslot(key))

    def node_at(self, host: str, port: int) -> ClusterNode:
        """A node, which may be new."""
        options: dict[str, Any] = self.get_connection_kwargs()
        return ClusterNode(host, port, **options)


def cluster_of(address: Address, **terms: Any) -> Cluster:
    """A client of the cluster."""
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    return cast("Cluster", Cluster.from_url(address.server, startup_nodes=nodes, **terms))
