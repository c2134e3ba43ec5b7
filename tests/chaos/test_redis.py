"""Redis misbehaves: answers are lost, and its name leads elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from sandbox.processes import free_ports
from sandbox.redis import PrivateRedis
from sandbox.world import World
from stream.delivery.ledger import KEY_PREFIX
from stream.redis.availability import PROBE_EVERY_S, RedisAway
from stream.redis.client import connect
from stream.redis.link import RedisLink
from stream.redis.scripts import Script
from tests.forwarder import Forwarder
from tests.scene import Scene, number, unique

FEW_SECONDS = 5.0
LEASE_S = 5.5  # META_API_TIMEOUT_MS and the margin of 5 s
REFUSED_ONCE = "999210131016"  # "service unavailable", which Meta says of a message it did not take


@pytest.fixture
def old(breakable: World) -> Iterator[PrivateRedis]:
    """A master of the test's own."""
    with PrivateRedis(breakable.base_dir / unique("old")) as server:
        yield server


@pytest.fixture
def new(breakable: World) -> Iterator[PrivateRedis]:
    """The one that is to take over."""
    with PrivateRedis(breakable.base_dir / unique("new")) as server:
        yield server


@asynccontextmanager
async def client(server: PrivateRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as connected:
        yield connected


async def synchronised(replica: Redis) -> None:
    """Wait until a replica has what its master has."""
    async with asyncio.timeout(20):
        while (await replica.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def ledger_keys(redis: Redis) -> int:
    """Messages that the ledger on this Redis knows."""
    return len([key async for key in redis.scan_iter(KEY_PREFIX + "*")])


async def publishing_until(stage: Scene, count: Callable[[], Awaitable[int]], *, at_least: int) -> float:
    """Publish one message after the other until this is counted; returns the seconds that it took."""
    started = time.monotonic()
    while await count() < at_least:
        assert time.monotonic() - started < 30, "\n".join(worker.tail(5) for worker in stage.workers)
        await stage.publish(number())
        await asyncio.sleep(0.1)
    return time.monotonic() - started


@pytest.mark.parametrize("on_unknown", ["dead-letter", "retry"])
async def test_a_message_whose_claim_lost_its_answer_is_not_in_doubt_after_a_clean_refusal(
    broken: Scene, on_unknown: str
) -> None:
    redis = broken.world.redis
    assert isinstance(redis, PrivateRedis)
    async with Forwarder(redis.port) as name:
        worker = await broken.start_worker(
            REDIS_URL=f"redis://127.0.0.1:{name.port}/0", META_API_TIMEOUT_MS="500", ON_UNKNOWN_OUTCOME=on_unknown
        )
        await broken.watch()
        tenant, first, to = unique("claimed"), number(), number(REFUSED_ONCE)
        await broken.publish(first, tenant)
        await broken.accepted(first)
        name.lose_answers()
        internal_id = await broken.publish(to, tenant)
        event = await broken.event(f"outbound.sent.{tenant}", internal_id, seconds=LEASE_S + 10)
        assert (event["attempts"], event.get("possiblySentTwice", False)) == (2, False)
        assert broken.letters_of(internal_id) == []
        await broken.logged(worker, "redis_away")
        await broken.logged(worker, "redis_back")


async def test_a_failover_costs_the_ledger_a_few_seconds_and_no_restart(
    stage: Scene, old: PrivateRedis, new: PrivateRedis
) -> None:
    async with Forwarder(old.port) as name, client(old) as on_old, client(new) as on_new:
        await on_new.replicaof("127.0.0.1", old.port)
        worker = await stage.start_worker(REDIS_URL=f"redis://127.0.0.1:{name.port}/0")
        to, before = number(), unique("before")
        await stage.publish(to, internal_id=before)
        await stage.accepted(to)
        await synchronised(on_new)
        await on_new.replicaof("NO", "ONE")
        await on_old.replicaof("127.0.0.1", new.port)  # it stays up, and refuses writes
        name.target = new.port
        assert await publishing_until(stage, lambda: ledger_keys(on_new), at_least=2) < FEW_SECONDS
        await stage.logged(worker, "redis_back")
        await stage.publish(to, internal_id=before)  # recorded on the old master
        await stage.logged(worker, "duplicate", internalId=before)
        assert stage.accepted_of([to]) == [1]


OF_NO_USE = {
    "READONLY": (("REPLICAOF", "127.0.0.1", "{new}"),),
    "MASTERDOWN": (("CONFIG", "SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", "{nobody}")),
    "NOREPLICAS": (("CONFIG", "SET", "min-replicas-to-write", "1"),),
    "OOM": (("CONFIG", "SET", "maxmemory", "1"),),
}
WRITE = Script("return redis.call('SET', KEYS[1], 'written')")


@pytest.mark.parametrize("refusal", OF_NO_USE)
async def test_a_server_that_refuses_everybody_is_left_for_the_one_that_its_name_leads_to_now(
    old: PrivateRedis, new: PrivateRedis, refusal: str
) -> None:
    async def run(link: RedisLink) -> None:
        await link.run(WRITE, ("key",), ())

    async def ask(link: RedisLink) -> None:
        await link.ask(link.redis.set, "key", "written")

    async with Forwarder(old.port) as name, client(old) as on_old, client(new) as on_new:
        links = [(RedisLink(connect(f"redis://127.0.0.1:{name.port}/0")), write) for write in (run, ask)]
        for link, write in links:
            await write(link)
        name.target = new.port
        for command in OF_NO_USE[refusal]:
            words = (word.format(new=new.port, nobody=free_ports(1)[0]) for word in command)
            await on_old.execute_command(*words)  # type: ignore[no-untyped-call]
        for link, write in links:
            await on_new.delete("key")
            with pytest.raises(RedisAway):
                await write(link)
            await asyncio.sleep(PROBE_EVERY_S)
            await write(link)
            assert await on_new.get("key") == b"written"
            await link.aclose()
