"""Redis fails over while messages are delivered: behind Sentinels, and as a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis.crc import key_slot

from sandbox.redis import PrivateRedis
from sandbox.redis_cli import cli, replicated, wait_until
from sandbox.redis_failover import ClusteredRedis, SentinelRedis
from sandbox.world import World
from stream.contract.events import Scope
from stream.contract.identifiers import TenantId, hash_tag
from stream.operations.dead_letters.job import Entry, Job, JobStore, Options
from stream.operations.dead_letters.known import known_of
from stream.operations.dead_letters.lock import locked
from stream.operations.dead_letters.plan import NOTHING_KNOWN
from stream.redis.client import connect, connect_patiently
from stream.redis.link import RedisLink
from stream.redis.scripts import Script
from stream.tenants.cache import CredentialCache, entry_key
from stream.tenants.codec import CredentialCodec
from stream.traffic.by_hand import CircuitsByHand, Place
from tests.chaos.load import RATE
from tests.chaos.redis_load import BACK_WITHIN_S, REPLICAS, TENANTS, loaded, unrecorded
from tests.scene import Evidence, Scene, unique

MOVING_S = 0.2
NOTICED_WITHIN_S = 4  # the Sentinels learn of it from each other within two, and each worker asks once a second


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    if not PrivateRedis.installed():
        pytest.skip("needs redis-server on this machine: its servers are killed")


@pytest.fixture(scope="module")
def sentinels(world: World) -> Iterator[SentinelRedis]:
    with SentinelRedis(world.base_dir / unique("sentinels")) as started:
        Evidence.secrets |= {started.password, started.sentinel_password}
        yield started


@pytest.fixture(scope="module")
def cluster(world: World) -> Iterator[ClusteredRedis]:
    with ClusteredRedis(world.base_dir / unique("cluster")) as started:
        yield started


async def back_s(stage: Scene) -> float:
    """Seconds until each replica has noticed that Redis is away, and then that it is back."""
    started = time.monotonic()
    for worker in stage.workers:
        await stage.logged(worker, "redis_away")
    for worker in stage.workers:
        while (await stage.metrics(worker))["redis_away"]:
            assert time.monotonic() - started < BACK_WITHIN_S, worker.tail()
            await asyncio.sleep(0.05)
    return time.monotonic() - started


def away_lines(stage: Scene) -> list[str]:
    return [line["error"] for worker in stage.workers for line in worker.lines() if line["event"] == "redis_away"]


async def test_a_sentinel_that_is_frozen_is_passed_over(sentinels: SentinelRedis) -> None:
    first = sentinels.sentinels[0]  # it is asked first
    first.pause()
    link = RedisLink(connect(sentinels.url))
    try:
        assert await link.run(Script("return redis.call('SET', KEYS[1], '1')"), (unique("key"),), ()) == b"OK"
    finally:
        first.resume()
        await link.aclose()


async def test_a_master_that_sentinels_demote_is_left_before_it_refuses_two_writes(
    stage: Scene, sentinels: SentinelRedis
) -> None:
    old = sentinels.master
    async with loaded(stage, *[sentinels.url] * REPLICAS) as load:
        await asyncio.to_thread(sentinels.ask, "sentinel", "failover", "mymaster")
        async with asyncio.timeout(BACK_WITHIN_S):
            while (await asyncio.to_thread(lambda: sentinels.master)) is old:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)
        for worker in stage.workers:  # long before the Sentinels have told the old one, which takes writes until then
            await stage.logged(worker, "redis_master_moved")
        await asyncio.to_thread(wait_until, lambda: replicated(old, sentinels.password), "the old one follows")
    await load.ended_well()
    await load.are_known(set(load.tenants))
    assert len([line for line in away_lines(stage) if "READONLY" in line]) <= len(stage.workers)
    for worker in stage.workers:
        assert "redis_master_writes_alone" in {line["event"] for line in worker.lines()}
        assert (await stage.metrics(worker))["redis_away"] == 0
    assert await load.copies_sent() <= await unrecorded(stage) + RATE * NOTICED_WITHIN_S


@pytest.mark.parametrize("dies", [False, True], ids=["frozen", "killed"])
async def test_a_master_that_falls_silent_is_replaced_by_its_replica_on_every_worker(
    stage: Scene, sentinels: SentinelRedis, *, dies: bool
) -> None:
    old = sentinels.master
    async with loaded(stage, *[sentinels.url] * REPLICAS, many_wait=dies) as load:
        await asyncio.to_thread(old.kill if dies else old.pause)
        try:
            assert await back_s(stage) < BACK_WITHIN_S
        finally:
            old.resume()  # it takes itself for the master, until a Sentinel tells it otherwise
        await asyncio.sleep(0 if dies else 2)
    assert 0 < await unrecorded(stage) < len(load.published)
    for tenant in load.tenants:  # what was sent while Redis was away is not in the ledger
        await load.publish_one(tenant)
    await load.ended_well()
    await load.are_known(set(load.tenants))
    if not dies:
        await asyncio.to_thread(wait_until, lambda: replicated(old, sentinels.password), "the old one follows")


async def test_what_operators_read_and_write_is_on_every_master_of_a_cluster(cluster: ClusteredRedis) -> None:
    link = RedisLink(connect_patiently(cluster.url))
    tenants = [TenantId(unique("operated")) for _ in range(TENANTS)]
    cache, circuits, store = CredentialCache(link, CredentialCodec([])), CircuitsByHand(link), JobStore(link.redis)
    for tenant in tenants:
        await link.redis.set(entry_key(tenant), b"")
        await circuits.open(Place.named(Scope.TENANT, tenant), "a test")
    assert {place.tenant_id async for place, _ in circuits.open_ones()} >= set(tenants)
    for tenant in tenants:
        await circuits.close(Place.named(Scope.TENANT, tenant))
    assert await cache.clear() >= TENANTS
    job = Job.new("a test", {}, Options(), {})
    async with locked(link.redis, {"who": "a test"}, lambda _: None):
        await store.create(job, {tenant: Entry() for tenant in tenants})
    assert set(await store.letters(job.id)) == set(tenants)
    assert await known_of(link.redis, [*map(entry_key, tenants), ""]) == [NOTHING_KNOWN] * (TENANTS + 1)
    await link.aclose()


def owner_of(cluster: ClusteredRedis, tenant: str) -> PrivateRedis:
    """The master that has a tenant's keys."""
    slot = key_slot(hash_tag(TenantId(tenant)).encode())
    for line in cli(cluster.nodes[0].port, "cluster", "nodes", host=cluster.nodes[0].place.own).splitlines():
        _, address, flags, *rest = line.split()
        if "master" in flags and any(_has(slots, slot) for slots in rest[5:]):
            port = int(address.split("@")[0].rpartition(":")[2])
            return next(node for node in cluster.nodes if node.port == port)
    raise AssertionError(f"nobody has slot {slot}")


def _has(slots: str, slot: int) -> bool:
    first, _, last = slots.partition("-")
    return int(first) <= slot <= int(last or first)


async def test_a_tenant_whose_slot_moves_to_another_master_keeps_its_ledger(
    stage: Scene, cluster: ClusteredRedis
) -> None:
    async with loaded(stage, *[cluster.url] * REPLICAS) as load:
        tenant = load.tenants[0]
        await asyncio.to_thread(move, cluster, tenant)
    await load.ended_well()
    await load.are_known({tenant})
    assert away_lines(stage) == []


def move(cluster: ClusteredRedis, tenant: str) -> None:
    """Move a tenant's slot, with its keys, to another master, as `redis-cli --cluster reshard` does it."""
    slot = str(key_slot(hash_tag(TenantId(tenant)).encode()))
    old = owner_of(cluster, tenant)
    new = next(owner for owner in cluster.masters if owner is not old)
    ids = {node.port: cli(node.port, "cluster", "myid").strip() for node in (old, new)}
    cli(new.port, "cluster", "setslot", slot, "importing", ids[old.port])
    cli(old.port, "cluster", "setslot", slot, "migrating", ids[new.port])
    time.sleep(MOVING_S)  # what is not there yet is asked for at the new one
    while keys := cli(old.port, "cluster", "getkeysinslot", slot, "100").split():
        cli(old.port, "migrate", "127.0.0.1", str(new.port), "", "0", "1000", "keys", *keys)
    for node in (new, old):
        cli(node.port, "cluster", "setslot", slot, "node", ids[new.port])


async def test_a_master_of_a_cluster_that_dies_is_replaced_by_its_replica_on_every_worker(
    stage: Scene, cluster: ClusteredRedis
) -> None:
    async with loaded(stage, *[cluster.url] * REPLICAS, many_wait=True) as load:
        victim = owner_of(cluster, load.tenants[0])
        concerned = {tenant for tenant in load.tenants if owner_of(cluster, tenant) is victim}
        await asyncio.to_thread(victim.kill)
        assert await back_s(stage) < BACK_WITHIN_S
    assert 0 < await unrecorded(stage) < len(load.published)
    for tenant in load.tenants:  # what was sent while Redis was away is not in the ledger
        await load.publish_one(tenant)
    await load.ended_well()
    await load.are_known(concerned)
