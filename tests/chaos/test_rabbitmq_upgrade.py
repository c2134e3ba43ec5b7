"""A RabbitMQ cluster starts on a new version with the data of the old one, and nothing is lost.

Needs both versions: `RABBITMQ_SERVERS=OLD:NEW` names their `rabbitmq-server` programs, each beside its `rabbitmqctl`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.graph import GraphSimulator
from sandbox.rabbitmq_cluster import RabbitMQCluster
from sandbox.tenants import TenantService
from sandbox.world import World
from tests.chaos.load import load_on
from tests.scene import Scene

pytestmark = [pytest.mark.alone, pytest.mark.any_servers]
PROGRAMS = os.environ.get("RABBITMQ_SERVERS", "")
REPLICAS = 3


@pytest.fixture
def cluster(world: World) -> Iterator[RabbitMQCluster]:
    if not PROGRAMS:
        pytest.skip("needs two versions of RabbitMQ, named in RABBITMQ_SERVERS")
    made = RabbitMQCluster(world.base_dir / "upgraded")
    use(made, PROGRAMS.split(":")[0])
    with made:
        yield made


def use(cluster: RabbitMQCluster, program: str) -> None:
    """Start its nodes with this program from now on."""
    for node in cluster.nodes:
        node.script = Path(program)


async def test_all_nodes_stop_and_start_on_the_new_version_under_load_and_nothing_is_lost(
    cluster: RabbitMQCluster, world: World, graph: GraphSimulator, tenants: TenantService, settings: dict[str, str]
) -> None:
    first = cluster.nodes[0]
    await asyncio.to_thread(first.ctl, "enable_feature_flag", "all")
    await asyncio.to_thread(first.ctl, "enable_feature_flag", "--experimental", "khepri_db")
    own = {**settings, "RABBITMQ_QUEUE_TYPE": "quorum"}
    async with Scene.on(World(first, world.redis, world.base_dir), own, graph, tenants, cluster.url) as stage:
        replicas = [await stage.start_worker() for _ in range(REPLICAS)]
        async with load_on(stage, cluster.url) as load:
            await asyncio.gather(*(asyncio.to_thread(node.stop) for node in cluster.nodes))
            use(cluster, PROGRAMS.split(":")[1])
            await asyncio.gather(*(asyncio.to_thread(node.start) for node in cluster.nodes))
            await asyncio.to_thread(cluster.wait_until_no_node_is_critical)
            await asyncio.to_thread(first.ctl, "enable_feature_flag", "all")
            assert await stage.stop_worker(replicas[0]) == 0
            await stage.start_worker()  # it declares everything on the new version
            await load.settle()
