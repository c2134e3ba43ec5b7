"""The demo: a real worker delivers real message files, and a table shows how each message ended.

The table is counted from the dead-letter queue and from what the Graph simulator took, never from what the worker
reports, and compared with what each message in the file expects.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from sandbox.operator import typed
from sandbox.recoveries import RECOVERIES
from sandbox.stage import open_stage
from stream.contract.headers import ERROR_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aio_pika.abc import AbstractIncomingMessage

    from sandbox.graph import GraphSimulator
    from sandbox.operator import Ended
    from sandbox.stage import Stage
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
    """Read a file of messages, one JSON object a line. A Redis that remembers another run takes them as new."""
    run = secrets.token_hex(3)
    return [_case(orjson.loads(line), run) for line in path.read_bytes().splitlines()]


def _case(line: dict[str, Any], run: str) -> Case:
    if "raw" in line:
        return Case(line["raw"].encode(), "nobody", line["expect"])
    message = line["message"]
    message["metadata"]["internalId"] += f"-{run}"
    return Case(orjson.dumps(message), message["metadata"]["tenantId"], line["expect"])


async def run_demo(world: World, cases: Sequence[Case]) -> bool:
    """Run the demo in a world of RabbitMQ and Redis.

    Returns:
        Whether every message ended as the file expects.
    """
    async with open_stage(world) as stage:
        started = time.monotonic()
        for case in cases:
            await stage.outside.publish(case.body, case.tenant)
        print(f"published {len(cases)} messages from {MESSAGES.name}\n")
        await _watch(stage, len(cases))
        seconds = time.monotonic() - started
        code = await asyncio.to_thread(stage.worker.stop)
        causes = [await stage.operator.run(*recovery.look) for recovery in RECOVERIES]
        letters = await stage.outside.take_dead_letters()
    counted = _counted(stage.graph, letters)
    agreed = _report(cases, counted, stage.graph, seconds)
    show_recoveries(len(letters), causes)
    return agreed and code == 0 and not any(cause.code for cause in causes)


async def _watch(stage: Stage, total: int) -> None:
    """Show progress until every message has ended, or the time limit is reached."""
    outside, deadline = stage.outside, time.monotonic() + FINISHED_WITHIN_S
    shown, ended = "", 0
    while ended < total and time.monotonic() < deadline:
        delivered, letters = len(_senders(stage.graph)), await outside.dead_letters()
        ended = delivered + letters
        line = (
            f"  delivered {delivered:3d}   dead-lettered {letters:3d}   "
            f"waiting for a retry {await outside.waiting():3d}   on the queue {await outside.intake():3d}"
        )
        if line != shown:
            print(line, flush=True)
            shown = line
        await asyncio.sleep(0.25)


def _senders(graph: GraphSimulator) -> dict[bytes, int]:
    """Accepted payloads, with the requests each took."""
    tries = Counter(request.body for request in graph.requests)
    return {request.body: tries[request.body] for request in graph.accepted}


def _counted(graph: GraphSimulator, letters: Sequence[AbstractIncomingMessage]) -> Counter[str]:
    sent = Counter(DELIVERED if tries == 1 else RETRIED for tries in _senders(graph).values())
    return sent + Counter(str((letter.headers or {}).get(ERROR_TYPE)) for letter in letters)


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


def show_recoveries(letters: int, causes: Sequence[Ended]) -> None:
    """Show the causes of some dead letters, as an operator sees them, and what would bring those letters back."""
    print(f"\nThe {letters} dead letters are not lost: `stream dead-letters groups` shows why each")
    print("is there, and a command brings back those that can be sent. For example:")
    for recovery, cause in zip(RECOVERIES, causes, strict=True):
        print(f"\n{cause.text}\n\n{recovery.first}\n{typed(recovery.replay)}")
    print("\n`make tour` cures such causes, runs these commands, and empties the queue.")
