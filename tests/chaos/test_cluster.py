"""A RabbitMQ cluster of three nodes that lose each other, under load: nothing is lost, and who can goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest

from sandbox.graph import GraphSimulator
from sandbox.network import Network
from sandbox.rabbitmq_cluster import ClusterNode, RabbitMQCluster
from sandbox.tenants import TenantService
from sandbox.worker import WorkerProcess
from sandbox.world import World
from stream.contract.queues import INTAKE_QUEUE
from tests.chaos.load import RATE, load_on
from tests.scene import Scene

pytestmark = pytest.mark.alone  # three nodes, three replicas and the load on them need both cores
REPLICAS: Final = 3
CUT_S: Final = 30.0
GONE_S: Final = 30.0


@pytest.fixture(scope="module")
def network(world: World) -> Iterator[Network]:
    if missing := Network.missing():
        pytest.skip(f"the nodes of a cluster are cut off from each other: {missing}")
    with Network(REPLICAS, world.base_dir / "network") as made:
        yield made


@pytest.fixture(scope="module")
def cluster(world: World, network: Network) -> Iterator[RabbitMQCluster]:
    if not ClusterNode.installed():
        pytest.skip("needs rabbitmq-server on this machine: a cluster's nodes are killed")
    with RabbitMQCluster(world.base_dir / "cluster", network) as made:
        yield made


@pytest.fixture
async def stage(
    cluster: RabbitMQCluster, world: World, graph: GraphSimulator, tenants: TenantService, settings: dict[str, str]
) -> AsyncIterator[Scene]:
    own = {**settings, "RABBITMQ_QUEUE_TYPE": "quorum"}
    async with Scene.on(
        World(cluster.nodes[0], world.redis, world.base_dir), own, graph, tenants, cluster.url
    ) as scene:
        await scene.declare("quorum")
        yield scene


async def start_replicas(stage: Scene, *urls: str) -> list[WorkerProcess]:
    return list(await asyncio.gather(*(stage.start_worker(RABBITMQ_URL=url) for url in urls)))


def address(worker: WorkerProcess) -> str:
    """Where a worker was connected first."""
    return str(next(line["rabbitmq"] for line in worker.lines() if line["event"] == "consuming"))


def events(worker: WorkerProcess) -> set[str]:
    return {line["event"] for line in worker.lines()}


async def until_ready(*workers: WorkerProcess, ready: bool = True, seconds: float = 30.0) -> None:
    """Wait until all of them say that they consume, or that they do not."""
    for worker in workers:
        async with asyncio.timeout(seconds):
            while await asyncio.to_thread(worker.ready) != ready:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.2)


async def test_the_node_that_leads_the_intake_dies_and_consumption_resumes_within_10_s(
    stage: Scene, cluster: RabbitMQCluster
) -> None:
    workers = await start_replicas(stage, *[cluster.url] * REPLICAS)
    leader = await asyncio.to_thread(cluster.leader, INTAKE_QUEUE)
    async with load_on(stage, cluster.others(leader)) as load:
        await asyncio.sleep(2)
        killed = time.monotonic()
        await asyncio.to_thread(leader.kill)
        await asyncio.sleep(12)
        assert load.longest_pause_s(killed, killed + 12) < 10
        await asyncio.to_thread(leader.start)
        await load.settle()
    losers = [worker for worker in workers if "rabbitmq_lost" in events(worker)]
    assert losers == [worker for worker in workers if address(worker) == leader.address]


async def test_each_node_is_restarted_in_turn_and_half_of_the_rate_is_kept_over_any_10_s(
    stage: Scene, cluster: RabbitMQCluster
) -> None:
    await start_replicas(stage, *[cluster.url] * REPLICAS)
    async with load_on(stage, cluster.url) as load:
        begun = time.monotonic()
        for node in cluster.nodes:
            await asyncio.to_thread(node.restart)
            await asyncio.to_thread(cluster.wait_until_no_node_is_critical)
        ended = time.monotonic()
        await load.settle()
    windows = [load.sent(begun + second, begun + second + 10) for second in range(int(ended - begun) - 9)]
    assert min(windows) >= RATE * 10 / 2, windows


async def test_a_worker_on_a_node_that_is_cut_off_says_so_and_comes_back_and_the_others_go_on(
    stage: Scene, cluster: RabbitMQCluster, network: Network
) -> None:
    leader = await asyncio.to_thread(cluster.leader, INTAKE_QUEUE)
    others = cluster.others(leader)
    on_the_wrong_side, free, right = await start_replicas(stage, leader.url, cluster.url, others)
    async with load_on(stage, others) as load:
        cut = time.monotonic()
        network.pull(cluster.nodes.index(leader) + 1, "peers")
        await until_ready(on_the_wrong_side, ready=False, seconds=CUT_S)
        await asyncio.sleep(max(0.0, cut + CUT_S - time.monotonic()))
        assert load.sent(cut + 20, cut + CUT_S) >= RATE * (CUT_S - 20) / 2
        assert right.ready()
        network.plug(cluster.nodes.index(leader) + 1)
        try:
            await until_ready(on_the_wrong_side)
        except TimeoutError:  # RabbitMQ 3.10's node may stay paused for ever: its operator restarts it
            await asyncio.to_thread(leader.restart)
            await until_ready(on_the_wrong_side)
        await until_ready(free, right)
        await load.settle()
    # Up to 4.2 a node without a majority closes its connections, since 4.3 it answers no declaration.
    assert events(on_the_wrong_side) & {"rabbitmq_lost", "rabbitmq_answers_nothing"}


async def test_without_a_majority_nothing_is_delivered_and_nothing_lost_and_every_worker_says_no_within_30_s(
    stage: Scene, cluster: RabbitMQCluster
) -> None:
    workers = await start_replicas(stage, *[cluster.url] * REPLICAS)
    gone = cluster.nodes[:2]
    async with load_on(stage, cluster.nodes[2].url) as load:
        killed = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(node.kill) for node in gone))
        await until_ready(*workers, ready=False)
        assert time.monotonic() - killed < 30
        await asyncio.sleep(max(0.0, killed + GONE_S - time.monotonic()))
        assert load.sent(killed + 10, killed + GONE_S) == 0
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in gone))
        await until_ready(*workers, seconds=60)
        await load.settle()
