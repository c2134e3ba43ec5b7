"""The demo: a real worker delivers real message files, and a table shows how each message ended.

The table is counted from the dead-letter queue and from what the Graph simulator took, never from what the worker
reports, and compared with what each message in the file expects.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from sandbox.broker import Outside
from sandbox.graph import GraphSimulator
from sandbox.tenants import TenantService
from sandbox.worker import WorkerProcess
from stream.contract.headers import ERROR_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.world import World

MESSAGES = Path(__file__).parent / "demo_messages.jsonl"
FINISHED_WITHIN_S = 80.0
DELIVERED = "delivered"
RETRIED = "delivered after retry"


@dataclass(frozen=True)
class Case:
    """One line of the file: what is published, and what must become of it."""

    body: bytes
    tenant: str
    expect: str


def read_cases(path: Path = MESSAGES) -> list[Case]:
    """Read a file of messages, one JSON object a line."""
    return [_case(orjson.loads(line)) for line in path.read_bytes().splitlines()]


def _case(line: dict[str, Any]) -> Case:
    if "raw" in line:
        return Case(line["raw"].encode(), "nobody", line["expect"])
    message = line["message"]
    return Case(orjson.dumps(message), message["metadata"]["tenantId"], line["expect"])


async def run_demo(world: World) -> bool:
    """Run the demo in a world of RabbitMQ and Redis.

    Returns:
        Whether every message ended as the file expects.
    """
    cases = read_cases()
    async with AsyncExitStack() as stack:
        graph = await stack.enter_async_context(GraphSimulator())
        tenants = await stack.enter_async_context(TenantService())
        environment = {
            "RABBITMQ_URL": world.rabbitmq.url,
            "REDIS_URL": world.redis.url,
            "TENANT_SERVICE_URL": tenants.url,
            "META_API_BASE_URL": graph.url,
        }
        worker = WorkerProcess(environment, world.base_dir / "worker.log")
        stack.callback(worker.kill)
        await asyncio.to_thread(worker.start)
        print(f"worker: faststream run stream.app:app, ready on port {worker.port}")
        outside = await stack.enter_async_context(Outside(world.rabbitmq.url))
        already = len(await outside.take_dead_letters())
        if already:
            print(f"took {already} older dead letters off the queue")
        started = time.monotonic()
        for case in cases:
            await outside.publish(case.body, case.tenant)
        print(f"published {len(cases)} messages from {MESSAGES.name}\n")
        letters = await _watch(outside, graph, len(cases))
        seconds = time.monotonic() - started
        code = await asyncio.to_thread(worker.stop)
    counted = _counted(graph, letters)
    return _report(cases, counted, graph, seconds) and code == 0


async def _watch(outside: Outside, graph: GraphSimulator, total: int) -> list[str]:
    """Show progress until every message has ended, or the time limit is reached."""
    letters: list[str] = []
    deadline = time.monotonic() + FINISHED_WITHIN_S
    shown = ""
    while len(_senders(graph)) + len(letters) < total and time.monotonic() < deadline:
        letters += [str((letter.headers or {}).get(ERROR_TYPE)) for letter in await outside.take_dead_letters()]
        line = (
            f"  delivered {len(_senders(graph)):3d}   dead-lettered {len(letters):3d}   "
            f"waiting for a retry {await outside.waiting():3d}   on the queue {await outside.intake():3d}"
        )
        if line != shown:
            print(line, flush=True)
            shown = line
        await asyncio.sleep(0.25)
    return letters


def _senders(graph: GraphSimulator) -> dict[bytes, int]:
    """Accepted payloads, with the requests each took."""
    tries = Counter(request.body for request in graph.requests)
    return {request.body: tries[request.body] for request in graph.accepted}


def _counted(graph: GraphSimulator, letters: Sequence[str]) -> Counter[str]:
    sent = Counter(DELIVERED if tries == 1 else RETRIED for tries in _senders(graph).values())
    return sent + Counter(letters)


def _report(cases: Sequence[Case], counted: Mapping[str, int], graph: GraphSimulator, seconds: float) -> bool:
    expected = Counter(case.expect for case in cases)
    print(f"\n{'what became of them':46} {'expected':>8} {'counted':>8}")
    for name in sorted({*expected, *counted}, key=lambda name: (name not in {DELIVERED, RETRIED}, name)):
        label = name if name in {DELIVERED, RETRIED} else f"dead-lettered: {name}"
        mark = "" if expected[name] == counted.get(name, 0) else "   <- differs"
        print(f"{label:46} {expected[name]:8d} {counted.get(name, 0):8d}{mark}")
    twice = len(graph.twice())
    agreed = dict(expected) == dict(counted) and not twice
    print(f"{'in all':46} {len(cases):8d} {sum(counted.values()):8d}")
    print(f"\nsent twice: {twice}; {len(graph.requests)} requests at the Graph simulator; {seconds:.0f} s")
    print("Every message ended where it should." if agreed else "The counts differ from the file's expectations.")
    return agreed
