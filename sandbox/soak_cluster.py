"""Steady load on three replicas while a RabbitMQ cluster, Redis and the replicas fail at random, one after the other.

Each failure waits until the world is whole again. Ends with the table of `sandbox.soak`, how often each thing failed,
and the memory of a replica that nothing ended.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from bisect import bisect
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from sandbox.broker import Outside
from sandbox.graph import GraphSimulator
from sandbox.network import Network
from sandbox.processes import ServerError
from sandbox.rabbitmq_cluster import NODES, ClusterNode, RabbitMQCluster
from sandbox.redis import PrivateRedis
from sandbox.redis_failover import KINDS
from sandbox.soak_failures import REDIS_KILLED, REDIS_MOVED, Failures
from sandbox.soak_load import (
    Result,
    Tally,
    count,
    environment,
    publish_steadily,
    report,
    resident_kib,
    settle,
    told_in_logs,
)
from sandbox.tenants import TenantService
from sandbox.worker import WorkerError, WorkerProcess
from sandbox.world import WorldError
from stream.contract.publications import SENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aio_pika.abc import AbstractIncomingMessage

REPLICAS = 3
QUIET_S = (1.0, 5.0)  # between two failures, at least and at most
EVENTS = "soak-events"


@dataclass(frozen=True, slots=True)
class Happened:
    """A failure, and what was seen when all was whole again; times are monotonic."""

    name: str
    begun: float
    whole: float
    memory_kib: int  # of the first replica


@dataclass(slots=True)
class Seen:
    """What is noted while a soak runs."""

    failures: list[Happened] = field(default_factory=list)
    told: set[str] = field(default_factory=set)  # internal ids whose sent event says that it may have been sent twice
    not_whole: str = ""  # after which failure, and why; nothing failed after that


@dataclass(frozen=True)
class ClusterResult:
    """The table's rows, for a test to check.

    Attributes:
        counted: What became of the messages.
        failures: How often each thing failed.
        sent_meanwhile: Messages that Meta took between the begin of a failure and the time when all was whole again.
        memory_kib: Resident memory of the first replica at the start, then after each failure, in KiB.
        not_whole: The failure after which not all came back, and what was waited for; else nothing.
    """

    counted: Result
    failures: Counter[str]
    sent_meanwhile: int
    memory_kib: tuple[int, ...]
    not_whole: str

    @property
    def held(self) -> bool:
        """Nothing lost, nothing sent twice without a report, and after each failure all came back."""
        return self.counted.held and not self.not_whole

    def rows(self) -> list[tuple[str, object]]:
        """For people to read."""
        start, *later = (kib // 1024 for kib in self.memory_kib)
        half = len(later) // 2
        return [
            *self.counted.rows(),
            *((f"failed: {name}", times) for name, times in sorted(self.failures.items())),
            *([("not whole again", self.not_whole)] if self.not_whole else []),
            ("sent between a failure and all whole", self.sent_meanwhile),
            ("memory of the replica that nothing ended", f"{start} MiB at the start"),
            ("  at most, in the first half", f"{max(later[:half], default=start)} MiB"),
            ("  at most, in the second half", f"{max(later[half:], default=start)} MiB"),
        ]


async def run_cluster_soak(seconds: float, rate: float, redis_kind: str, seed: int) -> ClusterResult:
    """Run it on servers of its own; their files stay if something was lost or sent twice without a report."""
    if lacks := missing():
        raise WorldError(lacks)
    folder = Path(tempfile.mkdtemp(prefix="whatsapp-soak-"))
    print(f"The servers' files and the replicas' logs are in {folder}; a good end removes them.")
    async with AsyncExitStack() as stack:
        network = stack.enter_context(Network(NODES, folder / "network"))
        cluster = stack.enter_context(RabbitMQCluster(folder / "rabbitmq", network))
        redis = stack.enter_context(KINDS[redis_kind](folder / "redis"))
        graph = await stack.enter_async_context(GraphSimulator())
        tenants = await stack.enter_async_context(TenantService())
        settings = {**environment(cluster.url, redis.url, graph, tenants), "RABBITMQ_QUEUE_TYPE": "quorum"}
        workers = [WorkerProcess(settings, folder / f"worker-{number}.log") for number in range(REPLICAS)]
        for worker in workers:
            stack.callback(worker.kill)
            await asyncio.to_thread(worker.start)
        outside = await stack.enter_async_context(Outside(cluster.url))
        tally, seen, start = Tally(), Seen(), resident_kib(workers[0])
        draw = random.Random(seed)  # noqa: S311 - the same failures each time
        failures = Failures(cluster, network, redis, workers, draw)
        async with Outside(cluster.url) as listener:
            await _listen(listener, seen.told)
            await asyncio.gather(
                publish_steadily(outside, tally, seconds, rate), _fail(failures, draw, seconds, workers[0], seen)
            )
            outside.leave_channel()
            await settle(outside, graph, tally)
        await _take_the_rest(outside, seen.told)
        seen.told |= told_in_logs(workers)
        tally.redis_away = [
            (each.begun, each.whole) for each in seen.failures if each.name in {REDIS_KILLED, REDIS_MOVED}
        ]
        times = sorted(request.received_at for request in graph.accepted)
        result = ClusterResult(
            count(graph.accepted, tally, seen.told),
            Counter(each.name for each in seen.failures),
            sum(bisect(times, each.whole) - bisect(times, each.begun) for each in seen.failures),
            (start, *(each.memory_kib for each in seen.failures), resident_kib(workers[0])),
            seen.not_whole,
        )
        report([("Redis, seconds, seed", f"{redis_kind}, {seconds:g}, {seed}"), *result.rows()])
    if result.held:
        shutil.rmtree(folder)
    return result


def missing() -> str:
    """What this machine lacks for it, or nothing."""
    if ClusterNode.installed() and PrivateRedis.installed():
        return Network.missing()
    return "Install rabbitmq-server and redis-server: their processes are killed."


async def _fail(failures: Failures, draw: random.Random, seconds: float, first: WorkerProcess, seen: Seen) -> None:
    """Let one thing after the other fail, each once before one fails again."""
    started = time.monotonic()
    for name in _shuffled(list(failures.all), draw):
        await asyncio.sleep(draw.uniform(*QUIET_S))
        if (begun := time.monotonic()) > started + seconds:
            return
        try:
            await asyncio.to_thread(failures.all[name])
            mended = time.monotonic()
            await asyncio.to_thread(failures.until_whole)
        except (ServerError, WorkerError) as error:
            seen.not_whole = f"{name}, {begun - started:.1f} s: {error}"
            print(f"{seen.not_whole}; nothing fails any more", flush=True)
            return
        whole = time.monotonic()
        after = f"mended after {mended - begun:.1f} s, all whole {whole - mended:.1f} s later"
        print(f"{begun - started:8.1f} s  {name}; {after}", flush=True)
        seen.failures.append(Happened(name, begun, whole, resident_kib(first)))


def _shuffled(names: list[str], draw: random.Random) -> Iterator[str]:
    while True:
        yield from draw.sample(names, len(names))


async def _listen(listener: Outside, told: set[str]) -> None:
    """Note whose sent event says that the message may have been sent twice."""

    async def note(event: AbstractIncomingMessage) -> None:
        _note(event, told)
        with suppress(AMQPError, ChannelInvalidStateError):  # it comes again
            await event.ack()

    channel = await listener.channel()
    await channel.set_qos(100)
    queue = await channel.declare_queue(EVENTS, durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(SENT.exchange, f"{SENT.key}#")
    await queue.consume(note)


async def _take_the_rest(outside: Outside, told: set[str]) -> None:
    """Note the events that the listener has missed."""
    queue = await (await outside.channel()).get_queue(EVENTS, ensure=False)
    while (event := await queue.get(no_ack=True, fail=False)) is not None:
        _note(event, told)


def _note(event: AbstractIncomingMessage, told: set[str]) -> None:
    said = orjson.loads(event.body)
    if said.get("possiblySentTwice"):
        told.add(said["internalId"])
