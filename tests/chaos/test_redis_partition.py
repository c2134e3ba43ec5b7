"""A network that cuts a master of Redis off from the other servers: what it takes then is bounded and counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urlsplit

import pytest

from sandbox.network import Network
from sandbox.redis import PrivateRedis
from sandbox.redis_failover import NODE_TIMEOUT_MS, SERVERS, ClusteredRedis, SentinelRedis
from sandbox.worker import WorkerProcess
from sandbox.world import World
from tests.chaos.load import RATE
from tests.chaos.redis_load import BACK_WITHIN_S, TENANTS, loaded, unrecorded
from tests.chaos.test_redis_failover import owner_of
from tests.forwarder import Forwarder
from tests.scene import Evidence, Scene, unique

LAG_S: Final = 2
ALONE_IT_REFUSES: Final = {"--min-replicas-to-write": "1", "--min-replicas-max-lag": str(LAG_S)}


@pytest.fixture
def network(world: World) -> Iterator[Network]:
    if missing := Network.missing():
        pytest.skip(f"a master is cut off from the others: {missing}")
    with Network(SERVERS, world.base_dir / unique("network")) as made:
        yield made


@pytest.fixture
def redis(world: World, network: Network) -> Iterator[SentinelRedis]:
    if not PrivateRedis.installed():
        pytest.skip("needs redis-server on this machine: its servers are cut off")
    with SentinelRedis(world.base_dir / unique("sentinels"), network, ALONE_IT_REFUSES) as started:
        Evidence.secrets |= {started.password, started.sentinel_password}
        yield started


@pytest.fixture
def cluster(world: World, network: Network) -> Iterator[ClusteredRedis]:
    if not PrivateRedis.installed():
        pytest.skip("needs redis-server on this machine: its servers are cut off")
    with ClusteredRedis(world.base_dir / unique("cluster"), network) as started:
        yield started


async def until_back(stage: Scene, *workers: WorkerProcess) -> None:
    async with asyncio.timeout(BACK_WITHIN_S):
        for worker in workers:
            while (await stage.metrics(worker))["redis_away"]:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.05)


async def test_a_master_that_is_cut_off_refuses_and_who_sees_no_other_one_says_so_until_the_network_is_whole(
    stage: Scene, network: Network, redis: SentinelRedis
) -> None:
    beside, *others = redis.sentinels  # the first is cut off together with the master
    async with loaded(stage, redis.url_of(beside), redis.url, redis.url_of(*others)) as load:
        wrong, *right = stage.workers
        cut = time.monotonic()
        network.pull(1, "peers")
        for worker in stage.workers:
            assert "NOREPLICAS" in (await stage.logged(worker, "redis_away"))["error"]
        await until_back(stage, *right)
        assert time.monotonic() - cut < BACK_WITHIN_S
        assert (await stage.metrics(wrong))["redis_away"] == 1
        network.plug(1)
        await until_back(stage, *stage.workers)
        await asyncio.sleep(1)
        for worker in stage.workers:
            assert (await stage.metrics(worker))["redis_away"] == 0
            assert "redis_master_writes_alone" not in {line["event"] for line in worker.lines()}
    await load.ended_well()
    # What the old master took before it refused is forgotten: nobody else has it.
    assert await load.copies_sent() <= await unrecorded(stage) + RATE * (LAG_S + 2)


@pytest.fixture
async def to_here(stage: Scene, network: Network) -> AsyncIterator[dict[str, str]]:
    """What a worker in another place than this needs, to reach all but Redis."""
    async with AsyncExitStack() as stack:
        urls = {}
        for name in ("RABBITMQ_URL", "META_API_BASE_URL", "TENANT_SERVICE_URL"):
            there = urlsplit(stage.settings[name])
            way = await stack.enter_async_context(Forwarder(there.port or 0, network.gateway))
            login, at, _ = there.netloc.rpartition("@")
            urls[name] = there._replace(netloc=f"{login}{at}{network.gateway}:{way.port}").geturl()
        yield urls


def away(worker: WorkerProcess) -> list[str]:
    """Why it has said that Redis is away; the first command that fails may also be one without an answer."""
    return [line["error"] for line in worker.lines() if line["event"] == "redis_away"]


async def test_a_clusters_master_that_is_cut_off_refuses_and_who_is_cut_off_with_it_says_so_until_the_network_is_whole(
    stage: Scene, network: Network, cluster: ClusteredRedis, to_here: dict[str, str]
) -> None:
    async with loaded(stage, cluster.url, cluster.url) as load:
        right = list(stage.workers)
        old = owner_of(cluster, load.tenants[0])
        concerned = [tenant for tenant in load.tenants if owner_of(cluster, tenant) is old]
        number = cluster.nodes.index(old) % SERVERS + 1
        stage.place, stage.settings = network.place(number), {**stage.settings, **to_here}
        wrong = await stage.start_worker("beside", REDIS_URL=cluster.url, RABBITMQ_PREFETCH="50")
        cut = time.monotonic()
        network.pull(number, "peers")
        await stage.until(lambda: all(map(away, stage.workers)), what="the master refuses")
        assert "ClusterDownError" in str([away(worker) for worker in stage.workers])
        await until_back(stage, *right)
        assert time.monotonic() - cut < BACK_WITHIN_S
        assert (await stage.metrics(wrong))["redis_away"] == 1
        network.plug(number)
        await until_back(stage, *stage.workers)
    await load.ended_well()
    # What the old master took before it refused is forgotten: nobody else has it.
    most = RATE * (NODE_TIMEOUT_MS / 1000 + 2) * len(concerned) / TENANTS
    assert await load.copies_sent() <= await unrecorded(stage) + most
