"""Steady load on three replicas while a RabbitMQ cluster, Redis and the replicas fail at random, one after the other.

Each failure waits until the world is whole again. Ends with the table of `sandbox.soak`.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from sandbox.broker import Outside
from sandbox.graph import GraphSimulator
from sandbox.network import Network
from sandbox.rabbitmq_cluster import NODES, ClusterNode, RabbitMQCluster
from sandbox.redis import PrivateRedis
from sandbox.redis_failover import ClusteredRedis, SentinelRedis
from sandbox.soak_failures import Failures
from sandbox.soak_load import (
    Result,
    Tally,
    count,
    environment,
    memory,
    publish_steadily,
    report,
    resident_kib,
    settle,
    told_in_logs,
)
from sandbox.tenants import TenantService
from sandbox.worker import WorkerProcess
from sandbox.world import WorldError
from stream.contract.publications import SENT

if TYPE_CHECKING:
    from collections.abc import Iterator

REPLICAS = 3
REDIS = {"sentinel": SentinelRedis, "cluster": ClusteredRedis}
QUIET_S = (1.0, 5.0)  # between two failures, at least and at most
EVENTS = "soak-events"


async def run_cluster_soak(seconds: float, rate: float, redis_kind: str, seed: int) -> Result:
    """Run it on servers of its own; their files stay if something was lost or sent twice without a report."""
    if missing := _missing():
        raise WorldError(missing)
    folder = Path(tempfile.mkdtemp(prefix="whatsapp-soak-"))
    print(f"The servers' files and the replicas' logs are in {folder}; a good end removes them.")
    async with AsyncExitStack() as stack:
        network = stack.enter_context(Network(NODES, folder / "network"))
        cluster = stack.enter_context(RabbitMQCluster(folder / "rabbitmq", network))
        redis = stack.enter_context(REDIS[redis_kind](folder / "redis"))
        graph = await stack.enter_async_context(GraphSimulator())
        tenants = await stack.enter_async_context(TenantService())
        settings = {**environment(cluster.url, redis.url, graph, tenants), "RABBITMQ_QUEUE_TYPE": "quorum"}
        workers = [WorkerProcess(settings, folder / f"worker-{number}.log") for number in range(REPLICAS)]
        for worker in workers:
            stack.callback(worker.kill)
            await asyncio.to_thread(worker.start)
        outside = await stack.enter_async_context(Outside(cluster.url))
        tally, start = Tally(), [resident_kib(worker) for worker in workers]
        await _keep_events(outside)
        draw = random.Random(seed)  # noqa: S311 - the same failures each time
        failures = Failures(cluster, network, redis, workers, draw)
        await asyncio.gather(publish_steadily(outside, tally, seconds, rate), _fail(failures, draw, seconds))
        outside.leave_channel()
        await settle(outside, graph, tally)
        result = count(graph.accepted, tally, told_in_logs(workers) | await _told_in_events(outside))
        report([*result.rows(), memory(start, workers)])
    if result.held:
        shutil.rmtree(folder)
    return result


def _missing() -> str:
    if ClusterNode.installed() and PrivateRedis.installed():
        return Network.missing()
    return "Install rabbitmq-server and redis-server: their processes are killed."


async def _fail(failures: Failures, draw: random.Random, seconds: float) -> None:
    """Let one thing after the other fail, each once before one fails again."""
    started = time.monotonic()
    for name in _shuffled(list(failures.all), draw):
        await asyncio.sleep(draw.uniform(*QUIET_S))
        if (at := time.monotonic() - started) > seconds:
            return
        await asyncio.to_thread(failures.all[name])
        mended = time.monotonic() - started
        await asyncio.to_thread(failures.until_whole)
        whole = time.monotonic() - started
        print(f"  {at:6.1f} s  {name}; mended after {mended - at:.1f} s, all whole {whole - mended:.1f} s later")


def _shuffled(names: list[str], draw: random.Random) -> Iterator[str]:
    while True:
        yield from draw.sample(names, len(names))


async def _keep_events(outside: Outside) -> None:
    queue = await (await outside.channel()).declare_queue(EVENTS, durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(SENT.exchange, f"{SENT.key}#")


async def _told_in_events(outside: Outside) -> set[str]:
    """Internal ids whose sent event says that the message may have been sent twice."""
    queue = await (await outside.channel()).get_queue(EVENTS, ensure=False)
    found = set()
    for _ in range(await outside.count(EVENTS)):
        event = orjson.loads((await queue.get(no_ack=True)).body)
        if event.get("possiblySentTwice"):
            found.add(event["internalId"])
    return found
