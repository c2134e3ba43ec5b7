"""A RabbitMQ cluster, and Redis behind Sentinels or as a cluster, for somebody who looks around, until Ctrl-C."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from contextlib import ExitStack
from pathlib import Path

from sandbox.network import Network
from sandbox.rabbitmq_cluster import NODES, ClusterNode, RabbitMQCluster
from sandbox.redis import PrivateRedis
from sandbox.redis_failover import KINDS
from sandbox.up import until_signal
from sandbox.world import WorldError


def serve_cluster(redis_kind: str) -> None:
    """Start the servers, say where they are, and wait."""
    if not (ClusterNode.installed() and PrivateRedis.installed()):
        raise WorldError("Install rabbitmq-server and redis-server: all servers are started from them.")
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whatsapp-cluster-")))
        if missing := Network.missing():
            print(f"All nodes are on 127.0.0.1: {missing}.")
        network = None if missing else stack.enter_context(Network(NODES, here / "network"))
        cluster = stack.enter_context(RabbitMQCluster(here, network))
        redis = stack.enter_context(KINDS[redis_kind](here / "redis"))
        print(manual(cluster, redis.url), flush=True)
        asyncio.run(until_signal())


def manual(cluster: RabbitMQCluster, redis_url: str) -> str:
    """What to type in other shells."""
    places = "\n".join(f"{node.node:24} {node.address:22} {node.management_url}" for node in cluster.nodes)
    return f"""\
node, address, management:
{places}

Ready until Ctrl-C. For the worker:

export RABBITMQ_URL={shlex.quote(cluster.url)}
export RABBITMQ_QUEUE_TYPE=quorum
export REDIS_URL={shlex.quote(redis_url)}"""
