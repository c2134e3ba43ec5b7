"""What `stream dead-letters groups` takes over many letters: seconds, and the highest memory of its process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, get_args

import aio_pika
import orjson

from bench import tables, usage
from bench.load import make_body
from bench.measure import Stalled
from sandbox.world import VARIABLES, open_world
from stream.broker.declaration import declare
from stream.broker.topology import Topology
from stream.contract.queues import DEAD_LETTER_QUEUE, INTAKE_QUEUE, QueueKind

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS: Final = (1_000, 100_000)  # letters: the memory of the first look is what the command takes anyway
BOUND_S: Final = 30.0
CAUSES: Final = {"AUTH_ERROR": 190, "PAYMENT_ISSUE": 131042, "WINDOW_EXPIRED": 131047, "INVALID_REQUEST": 100}
COLUMNS: Final = ("outbound-failed", "letters", "seconds", "peak MiB")
YIELD_EVERY: Final = 200
POLL_S: Final = 0.05


async def run_letters() -> None:
    """Look at few and at many letters, on a classic and on a quorum queue.

    Raises:
        Stalled: A look took too long, or did not show every letter.
    """
    for variable in VARIABLES.values():
        os.environ.pop(variable, None)  # queues are deleted, so the servers are its own
    rows = []
    with open_world() as world:
        for kind in get_args(QueueKind):
            for count in COUNTS:
                await _lay(world.rabbitmq.url, kind, count)
                seconds, mib = _look(world.rabbitmq.url, count)
                rows.append((kind, f"{count:,}", f"{seconds:.1f}", f"{mib:.0f}"))
                print(f"  {kind}, {count:,} letters: {seconds:.1f} s, {mib:.0f} MiB", flush=True)
                if seconds > BOUND_S:
                    raise Stalled(f"a look of {seconds:.1f} s, not {BOUND_S:g}")
    print(f"\n{tables.table(COLUMNS, rows)}")


async def _lay(url: str, kind: QueueKind, count: int) -> None:
    """Have so many letters on a new queue, and wait until they are there."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        for name in (DEAD_LETTER_QUEUE, INTAKE_QUEUE):
            await channel.queue_delete(name)
        await declare(connection, Topology(kind))
        for number, letter in enumerate(_letters(count)):
            await channel.default_exchange.publish(letter, DEAD_LETTER_QUEUE, mandatory=False)
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        async with asyncio.timeout(BOUND_S):
            while await _depth(channel) < count:  # noqa: ASYNC110 - RabbitMQ does not tell
                await asyncio.sleep(POLL_S)


async def _depth(channel: aio_pika.abc.AbstractChannel) -> int:
    found = await channel.declare_queue(DEAD_LETTER_QUEUE, passive=True)
    return found.declaration_result.message_count or 0


def _letters(count: int) -> Iterator[aio_pika.Message]:
    """Letters of each cause in turn, as a worker writes them."""
    now, causes = datetime.now(UTC).isoformat(), list(CAUSES.items())
    for number in range(count):
        error_type, code = causes[number % len(causes)]
        headers: dict[str, aio_pika.abc.FieldValue] = {
            "x-error-type": error_type,
            "x-error-code": code,
            "x-error-detail": "What Meta said",
            "x-attempts": 1,
            "x-first-seen": now,
            "x-failed-at": now,
        }
        body = make_body("acme", f"1650{number:08d}")
        yield aio_pika.Message(body, headers=headers, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)


def _look(url: str, count: int) -> tuple[float, float]:
    """Run the command; its seconds from start to end, and its highest resident memory in MiB."""
    command = [sys.executable, "-m", "stream.operations.cli", "dead-letters", "groups", "--json"]
    started, peak = time.monotonic(), 0.0
    with subprocess.Popen(command, env={**os.environ, "RABBITMQ_URL": url}, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            peak = max(peak, usage.peak_mib([process.pid]))
            time.sleep(POLL_S)
        out, _ = process.communicate()
    seconds = time.monotonic() - started
    if (shown := sum(orjson.loads(line)["count"] for line in out.splitlines())) != count:
        raise Stalled(f"groups shows {shown:,} of {count:,} letters")
    return seconds, peak
