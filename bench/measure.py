"""One measurement: a worker, a backlog, and what it cost to deliver the end of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import usage
from bench.redis_counts import RedisCounts
from bench.workers import make_worker
from stream.contract.queues import QueueKind

if TYPE_CHECKING:
    from bench.stage import Stage

WARM: Final = 500  # messages: imports, connections, caches and, on Node, the compiler are behind the worker then
POLL_S: Final = 0.02
STALLED_S: Final = 60.0


class Stalled(RuntimeError):  # noqa: N818 - what happened, for a person to read
    """A worker did not deliver what it should have."""


@dataclass(frozen=True, slots=True)
class Run:
    """One worker on one backlog; all figures but the broker's are of the part after its warm-up.

    Attributes:
        rate: Messages a second, at the Graph API.
        cpu_ms: CPU time a message, of the worker's whole process tree, in milliseconds.
        peak_mib: Its highest resident memory, start included, in MiB.
        redis: Redis' commands and reads a message.
        broker: RabbitMQ's reads from the worker and writes to it, a message, the warm-up and the connection's start
            included; `None` where they are not known.
        servers: CPU time a message of RabbitMQ and of Redis, in milliseconds; `None` where they are not known.
    """

    rate: float
    cpu_ms: float
    peak_mib: float
    redis: tuple[float, float]
    broker: tuple[float, float] | None
    servers: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class _Moment:
    at: float
    cpu_ms: float
    requests: int
    redis: RedisCounts
    servers: tuple[float, float] | None

    @classmethod
    def now(cls, stage: Stage, pids: list[int]) -> _Moment:
        return cls(
            time.monotonic(), usage.cpu_ms(pids), stage.graph.requests(), stage.redis.counts(), stage.servers.cpu_ms()
        )


async def measure(
    stage: Stage,
    kind: str,
    *,
    prefetch: int,
    messages: int,
    tenants: list[str],
    behind: int = 0,
    warm: int = WARM,
    queue: QueueKind = "classic",
) -> Run:
    """Measure the delivery of a backlog that is there before the worker starts.

    Args:
        stage: The servers.
        kind: `stream`, `floor` or `node`.
        prefetch: `RABBITMQ_PREFETCH`.
        messages: How many to measure, after the warm-up.
        tenants: Whose they are, in turn.
        behind: How many more lie on the queue behind them and stay there.
        warm: How many are sent before measuring begins.
        queue: The intake's type.
    """
    await stage.load.fresh_queues(queue)
    await stage.load.publish(warm + messages + behind, tenants)
    before = stage.graph.requests()
    settings = stage.settings(prefetch, stage.graph.url) | {"RABBITMQ_QUEUE_TYPE": queue}
    worker = make_worker(kind, settings, stage.log(kind))
    await asyncio.to_thread(worker.start)
    try:
        await sent(stage, before + warm)
        pids = usage.tree(worker.pid)
        start = _Moment.now(stage, pids)
        await sent(stage, before + warm + messages)
        end = _Moment.now(stage, pids)
        peak = usage.peak_mib(pids)
        broker = None if behind else await _broker_counts(stage, warm + messages)  # or it would already be working
    finally:
        await asyncio.to_thread(worker.stop)
    if failed := await stage.load.dead_letters():
        raise Stalled(f"{failed} messages failed")
    count = end.requests - start.requests
    redis = end.redis - start.redis
    return Run(
        rate=count / (end.at - start.at),
        cpu_ms=(end.cpu_ms - start.cpu_ms) / count,
        peak_mib=peak,
        redis=(redis.commands / count, redis.reads / count),
        broker=broker,
        servers=each_message(start.servers, end.servers, count),
    )


def each_message(
    before: tuple[float, float] | None, after: tuple[float, float] | None, count: int
) -> tuple[float, float] | None:
    """What RabbitMQ and Redis used between two moments, a message."""
    if before is None or after is None:
        return None
    return (after[0] - before[0]) / count, (after[1] - before[1]) / count


async def _broker_counts(stage: Stage, messages: int) -> tuple[float, float] | None:
    """Of the worker's whole life: a connection's counts begin with it, so asking once, at the end, disturbs nothing."""
    counts = await asyncio.to_thread(stage.broker.counts)
    return (counts.reads / messages, counts.writes / messages) if counts else None


async def sent(stage: Stage, total: int) -> None:
    """Wait until the Graph API has had `total` requests.

    Raises:
        Stalled: None came for a minute.
    """
    known, since = -1, time.monotonic()
    while (count := stage.graph.requests()) < total:
        if count != known:
            known, since = count, time.monotonic()
        elif time.monotonic() - since > STALLED_S:
            raise Stalled(f"no message was sent for {STALLED_S:g} s; {total - count} are missing")
        await asyncio.sleep(POLL_S)
