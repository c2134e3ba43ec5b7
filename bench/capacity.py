"""What one queue, one RabbitMQ and one Redis can do: their own CPU a message, by the intake's type, and for a wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import tables
from bench.measure import WARM, each_message, measure
from bench.rounds import BASE_PREFETCH, TENANTS

if TYPE_CHECKING:
    from bench.stage import Stage
    from stream.contract.queues import QueueKind

COLUMNS: Final = ("case", "msg/s", "CPU ms/msg", "RabbitMQ ms/msg", "Redis ms/msg", "Redis bytes/msg")
DELAY_S: Final = 1.75  # three of the delay levels, one after the other
POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages that a worker takes off one queue.

    Attributes:
        kind: `stream`, or `floor`, which takes them as fast as the queue gives them.
        queue: The intake's type.
    """

    kind: str
    queue: QueueKind


TAKEN: Final = tuple(Taken(kind, queue) for queue in ("classic", "quorum") for kind in ("stream", "floor"))


async def run_capacity(stage: Stage, messages: int) -> None:
    """Measure the cases, and print the table."""
    rows = [await _taken(stage, case, messages) for case in TAKEN]
    rows += [await _published(stage, queue, messages) for queue in ("classic", "quorum")]
    rows.append(await _delayed(stage, messages))
    print(f"\nWhat the servers use\n\n{tables.table(COLUMNS, rows)}")


async def _taken(stage: Stage, case: Taken, messages: int) -> list[str]:
    """A backlog that one worker takes, publishing it not included."""
    held = stage.redis.memory()
    run = await measure(
        stage,
        case.kind,
        prefetch=BASE_PREFETCH,
        messages=messages,
        tenants=stage.new_tenants(TENANTS),
        queue=case.queue,
    )
    kept = (stage.redis.memory() - held) / (WARM + messages) if case.kind == "stream" else None
    return _row(f"taken by {case.kind}, {case.queue} queue", run.rate, run.cpu_ms, run.servers, kept)


async def _published(stage: Stage, queue: QueueKind, messages: int) -> list[str]:
    """Messages that nobody takes."""
    await stage.load.fresh_queues(queue)
    before, began = stage.servers.cpu_ms(), time.monotonic()
    await stage.load.publish(messages, stage.new_tenants(TENANTS))
    return await _arrived(stage, f"published, {queue} queue", messages, before, began)


async def _delayed(stage: Stage, messages: int) -> list[str]:
    """Messages that wait on three delay levels, and that nobody takes."""
    await stage.load.fresh_queues()
    before, began = stage.servers.cpu_ms(), time.monotonic()
    await stage.load.publish_delayed(messages, stage.new_tenants(TENANTS), DELAY_S)
    return await _arrived(stage, f"published, {DELAY_S:g} s on delay levels, classic queue", messages, before, began)


async def _arrived(
    stage: Stage, name: str, messages: int, before: tuple[float, float] | None, began: float
) -> list[str]:
    while await stage.load.depth() < messages:  # noqa: ASYNC110 - only the broker knows
        await asyncio.sleep(POLL_S)
    took = time.monotonic() - began
    return _row(name, messages / took, None, each_message(before, stage.servers.cpu_ms(), messages), None)


def _row(
    name: str, rate: float, cpu_ms: float | None, servers: tuple[float, float] | None, kept: float | None
) -> list[str]:
    rabbitmq, redis = servers or (None, None)
    figures = [*(_figure(value, ".3f") for value in (cpu_ms, rabbitmq, redis)), _figure(kept, ".0f")]
    row = [name, f"{rate:.0f}", *figures]
    print("  " + "; ".join(row), flush=True)
    return row


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
