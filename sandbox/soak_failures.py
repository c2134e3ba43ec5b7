"""What fails in a soak of a RabbitMQ cluster, a Redis that fails over and three replicas; all of it is mended."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sandbox.processes import ServerError
from sandbox.rabbitmq_cluster import ClusterNode
from sandbox.redis_cli import wait_until
from sandbox.worker import WorkerProcess
from stream.contract.queues import INTAKE_QUEUE

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sandbox.network import Network, Switch
    from sandbox.rabbitmq_cluster import RabbitMQCluster
    from sandbox.redis_failover import ClusteredRedis, SentinelRedis

REDIS_KILLED = "a Redis master killed"
REDIS_MOVED = "Redis told to fail over"
AWAY_S = (2.0, 30.0)  # for how long a server is away, at least and at most


class Failures:
    """What can fail. Every one of `all` returns when what it broke runs again.

    Args:
        cluster: The nodes of RabbitMQ.
        network: Their cables.
        redis: Servers of which another one takes over.
        workers: The replicas; the first is never ended, so that its memory can be followed.
        draw: Decides whom it hits and for how long.
    """

    def __init__(
        self,
        cluster: RabbitMQCluster,
        network: Network,
        redis: SentinelRedis | ClusteredRedis,
        workers: list[WorkerProcess],
        draw: random.Random,
    ) -> None:
        self._cluster = cluster
        self._network = network
        self._redis = redis
        self._workers = workers
        self._draw = draw
        self.all: dict[str, Callable[[], None]] = {
            "the leader of the intake killed": self._leader_killed,
            "a node restarted": lambda: draw.choice(cluster.nodes).restart(),
            "a node cut off from the others": lambda: self._cut_off("peers"),
            "a node cut off from everybody": lambda: self._cut_off("peers", "clients"),
            "two nodes gone": self._two_nodes_gone,
            REDIS_KILLED: self._redis_master_killed,
            REDIS_MOVED: redis.fail_over,
            "a replica killed": lambda: self._replaced(WorkerProcess.kill),
            "a replica stopped": lambda: self._replaced(WorkerProcess.stop),
        }

    def until_whole(self) -> None:
        """Wait until nobody is away, and every replica is ready and has its Redis."""
        self._nodes_back()
        wait_until(self._redis.whole, "Redis is whole")
        wait_until(lambda: all(worker.ready() for worker in self._workers), "every replica is ready")
        wait_until(lambda: not any(worker.metric("redis_away") for worker in self._workers), "every replica has Redis")

    def _nodes_back(self) -> None:
        try:
            self._cluster.wait_until_no_node_is_critical()
        except ServerError:
            for node in self._cluster.nodes:
                if not node.serves():
                    _restart(node)
            self._cluster.wait_until_no_node_is_critical()

    def _away(self) -> None:
        time.sleep(self._draw.uniform(*AWAY_S))

    def _leader_killed(self) -> None:
        leader = self._cluster.leader(INTAKE_QUEUE)
        leader.kill()
        self._away()
        leader.start()

    def _cut_off(self, *switches: Switch) -> None:
        node = self._draw.choice(self._cluster.nodes)
        number = self._cluster.nodes.index(node) + 1
        self._network.pull(number, *switches)
        self._away()
        self._network.plug(number)

    def _two_nodes_gone(self) -> None:
        left, *gone = self._draw.sample(self._cluster.nodes, 3)
        for node in gone:
            node.kill()
        self._away()
        with ThreadPoolExecutor() as pool:  # each waits for the other, and both may wait for the one that is left
            starts = [pool.submit(node.start) for node in gone]
            try:
                wait_until(left.serves, "the node that is left serves")
            except ServerError:
                _restart(left)
            for each in starts:
                each.result()

    def _redis_master_killed(self) -> None:
        old = self._redis.lose_master()
        self._away()
        old.start()

    def _replaced(self, end: Callable[[WorkerProcess], object]) -> None:
        worker = self._draw.choice(self._workers[1:])
        end(worker)
        worker.start()


def _restart(node: ClusterNode) -> None:
    """A node of RabbitMQ 3.10 that lost the majority may stay paused, or fail to go on (`BOOT FAILED`)."""
    print(f"    {node.name} stayed away and is restarted, as its operator would do")
    node.restart()
