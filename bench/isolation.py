"""What one tenant's trouble costs the others: a backlog of noisy tenants, then messages of quiet ones behind it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aio_pika
import orjson

from bench import tables
from bench.load import make_body
from bench.measure import Stalled
from bench.workers import StreamWorker
from sandbox.graph import GraphSimulator
from sandbox.tenants import TenantService
from sandbox.world import VARIABLES, open_world
from stream.contract.queues import INTAKE_EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aio_pika.abc import AbstractConnection

    from sandbox.records import Recorded

POLL_S: Final = 0.5
NOISY, QUIET = "noisy-{}", "quiet-{}"
AT_ONCE: Final = "1650"  # prefixes of recipients; `sandbox.numbers` says what happens to the others
FROM_QUIET: Final = "1651"
AFTER_200_MS, AFTER_2_S, NEVER = "999400200", "999402000", "999430000"
MOVED_OR_WAITING: Final = re.compile(rb'"event": ?"(moved_to_lane|waiting_)')
COLUMNS: Final = (
    "case",
    "bar",
    "quiet p50 s",
    "quiet p95 s",
    "noisy msg/s",
    "most in 1 s",
    "total s",
    "moves and waits of a message: mean, most",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One backlog, and what comes behind it.

    Attributes:
        name: For people.
        bar: What must hold, for people.
        messages: Of each noisy tenant.
        answered: A prefix of `sandbox.numbers`: how Meta answers them.
        noisy: How many such tenants.
        quiet: Tenants with one message each, published last.
        replicas: Workers.
        within_s: When everything must have been sent.
        rate: `PHONE_NUMBER_RATE`, in messages per second.
        to_the_end: Wait for the noisy tenants' messages too.
        counts_moves: Have each move logged, which the default `LOG_LEVEL` does not: it makes moves slower.
    """

    name: str
    bar: str
    messages: int
    answered: str = AT_ONCE
    noisy: int = 1
    quiet: int = 1
    replicas: int = 1
    within_s: float = 120.0
    rate: int = 80
    to_the_end: bool = True
    counts_moves: bool = False

    @property
    def backlog(self) -> list[tuple[str, str]]:
        """Tenant and recipient of each message, in the order in which they are published."""
        noisy = [
            (NOISY.format(tenant), f"{self.answered}{tenant:03d}{number:05d}")
            for number in range(self.messages)
            for tenant in range(self.noisy)
        ]
        return [*noisy, *((QUIET.format(each), f"{FROM_QUIET}{each:08d}") for each in range(self.quiet))]


CASES: Final = (
    Case("300 that take 2 s, alone", "-", 300, AFTER_2_S, quiet=0),
    Case("300 that take 2 s, then 1", "quiet <= 2 s, total <= 1.1 x alone", 300, AFTER_2_S),
    Case("100 without an answer, then 1", "quiet <= 2 s", 100, NEVER, to_the_end=False),
    Case("3 x 100 without an answer, then 1", "quiet <= 2 s", 100, NEVER, noisy=3, to_the_end=False),
    Case(
        "10 x 2,000 that take 200 ms, then 200",
        "quiet p95 <= 5 s",
        2_000,
        AFTER_200_MS,
        noisy=10,
        quiet=200,
        to_the_end=False,
    ),
    Case(
        "600, limit 50/s, 3 replicas",
        "never more than 100 in a second, noisy >= 45/s",
        600,
        quiet=0,
        replicas=3,
        rate=50,
    ),
    Case(
        "20,000, limit 80/s, then 1, 3 replicas",
        "quiet <= 20 s, noisy >= 76/s",
        20_000,
        replicas=3,
        within_s=400,
        counts_moves=True,
    ),
)


async def run_isolation() -> None:
    """Measure each case, and print the table."""
    for variable in VARIABLES.values():
        os.environ.pop(variable, None)  # each case has servers of its own
    rows = []
    for case in CASES:
        rows.append(await _measure(case))
        print("  " + "; ".join(rows[-1]), flush=True)
    print(f"\nWhat one tenant's trouble costs the others\n\n{tables.table(COLUMNS, rows)}")


async def _measure(case: Case) -> list[str]:
    """One case, on servers of its own: workers that wait, then everything is published at once."""
    async with AsyncExitStack() as stack:
        world = stack.enter_context(open_world(say=lambda _: None))
        graph = await stack.enter_async_context(GraphSimulator())
        tenants = await stack.enter_async_context(TenantService())
        connection = await stack.enter_async_context(await aio_pika.connect(world.rabbitmq.url))
        environment = {
            "RABBITMQ_URL": world.rabbitmq.url,
            "REDIS_URL": world.redis.url,
            "TENANT_SERVICE_URL": tenants.url,
            "META_API_BASE_URL": graph.url,
            "PHONE_NUMBER_RATE": str(case.rate),
            "LOG_LEVEL": "DEBUG" if case.counts_moves else "INFO",
        }
        logs = [world.base_dir / f"isolation-{CASES.index(case)}-{replica}.log" for replica in range(case.replicas)]
        for log in logs:
            worker = StreamWorker(environment, log)
            await asyncio.to_thread(worker.start)
            stack.callback(worker.stop)
        published = await _publish(connection, case)
        await _wait_for(graph, case)
        return _row(case, graph.requests, published, logs)


async def _publish(connection: AbstractConnection, case: Case) -> dict[str, float]:
    """Publish the backlog as fast as the broker takes it.

    Returns:
        When each recipient's message was published, in seconds of the monotonic clock.
    """
    published = {}
    async with connection.channel(publisher_confirms=False) as channel:
        exchange = await channel.get_exchange(INTAKE_EXCHANGE, ensure=False)
        for tenant, recipient in case.backlog:
            body = aio_pika.Message(make_body(tenant, recipient), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            published[recipient] = time.monotonic()
            await exchange.publish(body, f"outbound.processed.{tenant}", mandatory=False)
    return published


async def _wait_for(graph: GraphSimulator, case: Case) -> None:
    """Wait until Meta has every message that the case waits for.

    Raises:
        Stalled: Not within the case's time.
    """
    waited = case.backlog if case.to_the_end else case.backlog[-case.quiet :]
    awaited, deadline = {recipient for _, recipient in waited}, time.monotonic() + case.within_s
    while awaited - {request.recipient for request in graph.requests}:
        if time.monotonic() > deadline:
            raise Stalled(f"{case.name}: not everything was sent within {case.within_s:g} s")
        await asyncio.sleep(POLL_S)


def _row(case: Case, requests: Sequence[Recorded], published: Mapping[str, float], logs: Sequence[Path]) -> list[str]:
    arrived: dict[str, float] = {}
    for request in requests:
        arrived.setdefault(request.recipient, request.received_at)
    quiet = sorted(arrived[to] - published[to] for _, to in case.backlog[len(case.backlog) - case.quiet :])
    noisy = sorted(arrived[to] for _, to in case.backlog[: len(case.backlog) - case.quiet] if to in arrived)
    took = noisy[-1] - min(published.values())
    return [
        case.name,
        case.bar,
        *(f"{quiet[int(len(quiet) * share)]:.2f}" if quiet else "-" for share in (0.5, 0.95)),
        f"{len(noisy) / took:.1f}",
        str(_most_in_a_second(noisy)),
        f"{took:.1f}" if case.to_the_end else "-",
        _waits(logs, len(case.backlog)) if case.counts_moves else "-",
    ]


def _most_in_a_second(moments: Sequence[float]) -> int:
    """The most of them within any second."""
    first, most = 0, 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def _waits(logs: Sequence[Path], messages: int) -> str:
    """How often a message was moved or waited, by the workers' logs: on average, and at most."""
    waits: Counter[str] = Counter()
    for log in logs:
        for line in log.read_bytes().splitlines():
            if MOVED_OR_WAITING.search(line):
                waits[orjson.loads(line)["internalId"]] += 1
    return f"{waits.total() / messages:.2f}, {max(waits.values(), default=0)}"
