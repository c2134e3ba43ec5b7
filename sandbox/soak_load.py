"""The load of the soaks, and what became of it, counted at the Graph simulator and on the queues."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from sandbox.worker import WorkerError
from stream.contract.headers import ERROR_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aio_pika.abc import AbstractIncomingMessage

    from sandbox.broker import Outside
    from sandbox.graph import GraphSimulator
    from sandbox.records import Recorded
    from sandbox.tenants import TenantService
    from sandbox.worker import WorkerProcess

TENANTS = 10
CONFIRM_S = 5.0
MOST_NAMED = 10
SETTLE_WITHIN_S = 300.0  # circuits that opened meanwhile hold messages for one or two minutes
# Prefixes of sandbox.numbers. No server error lasts: during an outage such messages would be all that is sent, and open
# circuits.
ERRORS = ("9993150", "999210130429", "99910131047", "99912388003", "9993350", "999511")
FRACTION_OF_ERRORS = 0.06  # one in a hundred of each kind


@dataclass
class Tally:
    """What happened, counted outside the workers."""

    began: float = 0.0
    published: dict[str, float] = field(default_factory=dict)  # recipient → when
    letters: list[AbstractIncomingMessage] = field(default_factory=list)
    redis_away: list[tuple[float, float]] = field(default_factory=list)  # from when to when no ledger was sure


@dataclass(frozen=True)
class Result:
    """The table's rows, for a test to check.

    Attributes:
        unguarded: Messages that were sent twice, one time while Redis was away: replicas say that it is, not which.
        untold: Internal id of what else was sent again without a report → when, in seconds since the load began.
    """

    published: int
    sent_once: int
    sent_twice_and_told: int
    unguarded: int
    untold: dict[str, list[float]]
    dead: Counter[str]
    lost: frozenset[str]

    @property
    def held(self) -> bool:
        """Nothing lost, and nothing sent twice without a report, except what was sent while Redis was away."""
        return not self.lost and not self.untold

    def rows(self) -> list[tuple[str, object]]:
        """For people to read."""
        return [
            ("published", self.published),
            ("sent once", self.sent_once),
            ("sent twice (in doubt, sent again, reported)", self.sent_twice_and_told),
            ("sent twice while Redis was away", self.unguarded),
            ("sent twice and not reported", len(self.untold)),
            *((f"  {name}, sent at", f"{at} s") for name, at in sorted(self.untold.items())[:MOST_NAMED]),
            *((f"dead-lettered: {name}", count) for name, count in sorted(self.dead.items())),
            ("lost", _some(self.lost)),
        ]


def _some(ids: frozenset[str]) -> str:
    return f"{len(ids)} {' '.join(sorted(ids)[:MOST_NAMED])}".strip()


def environment(rabbitmq_url: str, redis_url: str, graph: GraphSimulator, tenants: TenantService) -> dict[str, str]:
    """What the workers are set to."""
    return {
        "RABBITMQ_URL": rabbitmq_url,
        "REDIS_URL": redis_url,
        "TENANT_SERVICE_URL": tenants.url,
        "META_API_BASE_URL": graph.url,
        "META_API_TIMEOUT_MS": "2000",
        "PHONE_NUMBER_RATE": "0",  # all messages are of one number: its limit would make the soak longer
    }


def make_message(number: int, draw: random.Random) -> tuple[str, str, bytes]:
    """A tenant, a recipient and a body: 70 % text, 20 % template, 10 % media, and errors of each kind in between."""
    failing = draw.random() < FRACTION_OF_ERRORS
    to = f"{draw.choice(ERRORS)}{number:07d}" if failing else f"1650{number:08d}"
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("text", {"body": f"message {number}"}),
        ("template", {"name": "order_update", "language": {"code": "en"}}),
        ("image", {"id": "1013859600285441"}),
    ]
    kind, content = draw.choices(kinds, weights=(70, 20, 10))[0]
    tenant = tenant_of(number)
    return tenant, to, body_of(number, tenant, to, kind, content)


def tenant_of(number: int) -> str:
    """Whose message this is."""
    return f"tenant-{number % TENANTS}"


def body_of(number: int, tenant: str, to: str, kind: str, content: dict[str, Any]) -> bytes:
    """A message as an upstream service writes it."""
    payload = {"messaging_product": "whatsapp", "to": to, "type": kind, kind: content}
    metadata = {"tenantId": tenant, "phoneNumberId": "100000001", "internalId": f"soak-{number}"}
    return orjson.dumps({"metadata": metadata, "wabaPayload": payload})


def _internal_id(recipient: str) -> str:
    return f"soak-{int(recipient[-7:])}"


async def publish_steadily(outside: Outside, tally: Tally, seconds: float, rate: float) -> None:
    """Publish at a steady rate; what a failure held up is made up for."""
    draw = random.Random(7)  # noqa: S311 - the same load each time
    tally.began, number = time.monotonic(), 0
    while (now := time.monotonic() - tally.began) < seconds:
        if number > now * rate:
            await asyncio.sleep(0.002)
            continue
        await publish(outside, tally, *make_message(number, draw))
        number += 1


async def publish(outside: Outside, tally: Tally, tenant: str, to: str, body: bytes) -> None:
    """Publish a message; it is published again until the broker confirms it."""
    tally.published[to] = time.monotonic()
    while not await _confirmed(outside, body, tenant):  # noqa: ASYNC110 - RabbitMQ comes back when it does
        await asyncio.sleep(0.2)


async def _confirmed(outside: Outside, body: bytes, tenant: str) -> bool:
    try:
        async with asyncio.timeout(CONFIRM_S):
            await outside.publish(body, tenant)
    except Exception:  # noqa: BLE001 - an outage raises many errors; after each, publish again
        outside.leave_channel()
        return False
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return False
    return True


async def settle(outside: Outside, graph: GraphSimulator, tally: Tally) -> None:
    """Wait until every message has ended, or the time limit is reached."""
    deadline = time.monotonic() + SETTLE_WITHIN_S
    while time.monotonic() < deadline:
        try:
            tally.letters += await outside.take_dead_letters()
            left = await outside.intake() + await outside.waiting()
        except (AMQPError, ChannelInvalidStateError, OSError):  # our own channel comes back after the broker did
            outside.leave_channel()
        else:
            if left == 0 and not _open(graph.accepted, tally):
                return
        await asyncio.sleep(0.5)


def _open(accepted: Iterable[Recorded], tally: Tally) -> set[str]:
    """Recipients whose message has not ended."""
    dead = {orjson.loads(letter.body)["wabaPayload"]["to"] for letter in tally.letters}
    return set(tally.published) - {request.recipient for request in accepted} - dead


def told_in_logs(workers: Iterable[WorkerProcess]) -> set[str]:
    """Internal ids of which a replica logged that it sends them again after a send without an answer."""
    lines = (line for worker in workers for line in worker.lines())
    return {line["internalId"] for line in lines if line["event"] == "sending_again_after_unknown_outcome"}


def count(accepted: Sequence[Recorded], tally: Tally, told: set[str]) -> Result:
    """What became of all messages.

    Args:
        accepted: The requests whose message Meta took.
        tally: What was published, and the dead letters.
        told: Internal ids that the worker reported as perhaps sent twice.
    """
    sent = Counter(request.recipient for request in accepted)
    twice = {_internal_id(recipient) for recipient, times in sent.items() if times > 1}
    not_told: dict[str, list[float]] = {name: [] for name in twice - told}
    for request in accepted:
        if (name := _internal_id(request.recipient)) in not_told:
            not_told[name].append(request.received_at)
    untold = {
        name: [round(at - tally.began, 1) for at in times]
        for name, times in not_told.items()
        if not any(first <= at <= last for at in times for first, last in tally.redis_away)
    }
    return Result(
        published=len(tally.published),
        sent_once=len(sent) - len(twice),
        sent_twice_and_told=len(twice & told),
        unguarded=len(not_told) - len(untold),
        untold=untold,
        dead=Counter(str(letter.headers.get(ERROR_TYPE, "by the broker")) for letter in tally.letters),
        lost=frozenset(map(_internal_id, _open(accepted, tally))),
    )


def report(rows: list[tuple[str, object]]) -> None:
    """Print the table."""
    for name, value in rows:
        print(f"{name:44} {value}")


def memory(start: list[int], workers: list[WorkerProcess]) -> tuple[str, object]:
    """The row with the memory of the replicas."""
    pairs = zip(start, map(resident_kib, workers), strict=True)
    return "memory of the replicas, start -> end", ", ".join(f"{a // 1024} -> {b // 1024} MiB" for a, b in pairs)


def resident_kib(worker: WorkerProcess) -> int:
    """Resident memory of a replica, in KiB; 0 where the kernel does not say."""
    try:
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
    except (OSError, WorkerError):
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
