"""Steady load during failures: three replicas, ten tenants, a mix of messages, a kill, a deploy, two restarts.

Ends with a table counted at the Graph simulator and on the queues. Lost messages, and messages that were sent twice
without a report, must be 0.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from sandbox.broker import Outside
from sandbox.graph import GraphSimulator
from sandbox.rabbitmq import PrivateRabbitMQ
from sandbox.redis import PrivateRedis
from sandbox.tenants import TenantService
from sandbox.worker import WorkerError, WorkerProcess
from stream.contract.headers import ERROR_TYPE

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage

    from sandbox.world import World

REPLICAS = 3
TENANTS = 10
SETTLE_WITHIN_S = 120.0
REDIS_MARGIN_S = 2.0  # a worker notices that Redis is back within a second
ERRORS = ("9993150", "999210130429", "99910131047", "99912388003", "9993950", "999511")  # prefixes of sandbox.numbers
WAITING_AT_KILL = 500  # messages on the delay levels when RabbitMQ is killed, at least
THROTTLED = "99967"  # refused once for the rate, so they wait for ten seconds
FIRST_THROTTLED = 5_000_000  # their numbers; higher than those of all other messages
FRACTION_OF_ERRORS = 0.06  # one in a hundred of each kind


@dataclass
class Tally:
    """What happened, counted outside the workers."""

    published: dict[str, float] = field(default_factory=dict)  # recipient → when
    letters: list[AbstractIncomingMessage] = field(default_factory=list)
    redis_away: tuple[float, float] = (0.0, 0.0)  # from when to when Redis was restarted
    waiting_at_kill: int = 0
    memory: list[tuple[int, int]] = field(default_factory=list)  # KiB at the start and at the end, a replica each


@dataclass(frozen=True)
class Result:
    """The table's rows, for a test to check."""

    published: int
    sent_once: int
    sent_twice: int
    dead: Counter[str]
    lost: int
    sent_blindly: int
    waiting_at_kill: int

    @property
    def held(self) -> bool:
        """Nothing lost, and nothing sent twice without a report, except what was sent while Redis was away."""
        return self.lost == 0 and self.sent_blindly == 0


def make_message(number: int, draw: random.Random) -> tuple[str, str, bytes]:
    """A tenant, a recipient and a body: 70 % text, 20 % template, 10 % media, and errors of each kind in between."""
    tenant = f"tenant-{number % TENANTS}"
    failing = draw.random() < FRACTION_OF_ERRORS
    to = f"{draw.choice(ERRORS)}{number:07d}" if failing else f"1650{number:08d}"
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("text", {"body": f"message {number}"}),
        ("template", {"name": "order_update", "language": {"code": "en"}}),
        ("image", {"id": "1013859600285441"}),
    ]
    kind, content = draw.choices(kinds, weights=(70, 20, 10))[0]
    return tenant, to, _body(number, tenant, to, kind, content)


def _body(number: int, tenant: str, to: str, kind: str, content: dict[str, Any]) -> bytes:
    payload = {"messaging_product": "whatsapp", "to": to, "type": kind, kind: content}
    metadata = {"tenantId": tenant, "phoneNumberId": "100000001", "internalId": f"soak-{number}"}
    return orjson.dumps({"metadata": metadata, "wabaPayload": payload})


async def run_soak(world: World, seconds: float, rate: float) -> Result:
    """Run the soak on private servers in the world's folder."""
    folder = world.base_dir / "soak"
    tally = Tally()
    async with AsyncExitStack() as stack:
        rabbitmq = stack.enter_context(PrivateRabbitMQ(folder / "rabbitmq"))
        redis = stack.enter_context(PrivateRedis(folder / "redis", appendonly=True))
        graph = await stack.enter_async_context(GraphSimulator())
        tenants = await stack.enter_async_context(TenantService())
        environment = {
            "RABBITMQ_URL": rabbitmq.url,
            "REDIS_URL": redis.url,
            "TENANT_SERVICE_URL": tenants.url,
            "META_API_BASE_URL": graph.url,
            "META_API_TIMEOUT_MS": "2000",
            "PHONE_NUMBER_RATE": "0",  # all messages are of one number: its limit would make the soak longer
        }
        workers = [WorkerProcess(environment, folder / f"worker-{number}.log") for number in range(REPLICAS)]
        for worker in workers:
            stack.callback(worker.kill)
            await asyncio.to_thread(worker.start)
        outside = await stack.enter_async_context(Outside(rabbitmq.url))
        start = [resident_kib(worker) for worker in workers]
        breaking = asyncio.create_task(_break_things(workers, rabbitmq, redis, outside, seconds, tally))
        await _publish(outside, tally, seconds, rate)
        await breaking
        await _settle(outside, graph, tally)
        tally.memory = list(zip(start, [resident_kib(worker) for worker in workers], strict=True))
        result = _result(graph, tally, workers)
        _report(result, graph, tally)
        for worker in workers:
            await asyncio.to_thread(worker.stop)
    return result


async def _publish(outside: Outside, tally: Tally, seconds: float, rate: float) -> None:
    """Publish at a steady rate; a publish that the broker did not confirm in an outage is made again."""
    draw = random.Random(7)  # noqa: S311 - the same load each time
    started, number = time.monotonic(), 0
    while (now := time.monotonic() - started) < seconds:
        if number > now * rate:
            await asyncio.sleep(0.002)
            continue
        tenant, to, body = make_message(number, draw)
        tally.published[to] = time.monotonic()
        while not await _confirmed(outside, body, tenant):  # noqa: ASYNC110 - RabbitMQ comes back when it does
            await asyncio.sleep(0.2)
        number += 1


async def _confirmed(outside: Outside, body: bytes, tenant: str) -> bool:
    try:
        async with asyncio.timeout(5):
            await outside.publish(body, tenant)
    except Exception:  # noqa: BLE001 - an outage raises many errors; after each, publish again
        return False
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return False
    return True


async def _break_things(
    workers: list[WorkerProcess],
    rabbitmq: PrivateRabbitMQ,
    redis: PrivateRedis,
    outside: Outside,
    seconds: float,
    tally: Tally,
) -> None:
    """One SIGKILL, one SIGTERM, one Redis restart and one crash of RabbitMQ, spread over the run."""
    pause = seconds / 5
    await asyncio.sleep(pause)
    print("  SIGKILL of a replica")
    await asyncio.to_thread(workers[0].kill)
    await asyncio.to_thread(workers[0].start)
    await asyncio.sleep(pause)
    print("  SIGTERM of a replica")
    await asyncio.to_thread(workers[1].stop)
    await asyncio.to_thread(workers[1].start)
    await asyncio.sleep(pause / 2)
    print("  Redis restarts")
    away = time.monotonic()
    await asyncio.to_thread(redis.restart)
    tally.redis_away = (away - REDIS_MARGIN_S, time.monotonic() + REDIS_MARGIN_S)
    await asyncio.sleep(pause / 2)
    tally.waiting_at_kill = await _let_many_wait(outside, tally)
    print(f"  RabbitMQ dies and comes back, with {tally.waiting_at_kill} messages waiting")
    await asyncio.to_thread(rabbitmq.kill)
    await asyncio.to_thread(rabbitmq.start)


async def _let_many_wait(outside: Outside, tally: Tally) -> int:
    """Publish messages that are throttled until at least `WAITING_AT_KILL` wait; returns how many do."""
    number, deadline = FIRST_THROTTLED, time.monotonic() + SETTLE_WITHIN_S
    while (waiting := await outside.waiting()) < WAITING_AT_KILL:
        if time.monotonic() > deadline:
            raise WorkerError(f"only {waiting} messages wait, of {WAITING_AT_KILL}")
        for _ in range(WAITING_AT_KILL // 10):
            tenant, to = f"tenant-{number % TENANTS}", f"{THROTTLED}{number}"
            tally.published[to] = time.monotonic()
            while not await _confirmed(outside, _body(number, tenant, to, "text", {"body": "x"}), tenant):  # noqa: ASYNC110 - RabbitMQ comes back when it does
                await asyncio.sleep(0.2)
            number += 1
    return waiting


async def _settle(outside: Outside, graph: GraphSimulator, tally: Tally) -> None:
    """Wait until every message has ended, or the time limit is reached."""
    deadline = time.monotonic() + SETTLE_WITHIN_S
    while time.monotonic() < deadline:
        # Our own channel comes back a moment after the broker did.
        with suppress(AMQPError, ChannelInvalidStateError, OSError):
            tally.letters += await outside.take_dead_letters()
            left = await outside.intake() + await outside.waiting()
            if left == 0 and not _open(graph, tally):
                return
        await asyncio.sleep(0.5)


def _open(graph: GraphSimulator, tally: Tally) -> set[str]:
    """Recipients whose message has not ended."""
    dead = {orjson.loads(letter.body)["wabaPayload"]["to"] for letter in tally.letters}
    return set(tally.published) - {request.recipient for request in graph.accepted} - dead


def _result(graph: GraphSimulator, tally: Tally, workers: list[WorkerProcess]) -> Result:
    sent = Counter(request.recipient for request in graph.accepted)
    reported = {
        line["internalId"].removeprefix("soak-")
        for worker in workers
        for line in worker.lines()
        if line["event"] == "sending_again_after_unknown_outcome"
    }
    first, last = tally.redis_away
    unguarded = {request.recipient for request in graph.accepted if first <= request.received_at <= last}
    twice = {recipient for recipient, count in sent.items() if count > 1}
    return Result(
        published=len(tally.published),
        sent_once=sum(count == 1 for count in sent.values()),
        sent_twice=sum(count > 1 for count in sent.values()),
        dead=Counter(str(letter.headers.get(ERROR_TYPE, "by the broker")) for letter in tally.letters),
        lost=len(_open(graph, tally)),
        sent_blindly=len({to for to in twice - unguarded if to[-7:].lstrip("0") not in reported}),
        waiting_at_kill=tally.waiting_at_kill,
    )


def _report(result: Result, graph: GraphSimulator, tally: Tally) -> None:
    first: dict[str, float] = {}
    for request in graph.accepted:
        first.setdefault(request.recipient, request.received_at)
    waits = sorted(at - tally.published[to] for to, at in first.items() if not to.startswith("999"))
    rows: list[tuple[str, object]] = [
        ("published", result.published),
        ("sent once", result.sent_once),
        ("sent twice (in doubt, sent again, reported)", result.sent_twice),
        ("sent twice and not reported", result.sent_blindly),
        *((f"dead-lettered: {name}", count) for name, count in sorted(result.dead.items())),
        ("waiting when RabbitMQ was killed", result.waiting_at_kill),
        ("lost", result.lost),
        *(
            (f"publish to Graph, p{percent}", f"{waits[int(len(waits) * percent / 100) - 1] * 1000:.0f} ms")
            for percent in (50, 95, 99)
        ),
        ("memory of the replicas, start -> end", ", ".join(f"{a // 1024} -> {b // 1024} MiB" for a, b in tally.memory)),
    ]
    for name, value in rows:
        print(f"{name:44} {value}")


def resident_kib(worker: WorkerProcess) -> int:
    """Resident memory of a replica, in KiB; 0 where the kernel does not say."""
    try:
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
    except (OSError, WorkerError):
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
