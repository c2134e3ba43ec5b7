"""Who is compared: this worker, the two leanest things there are, and what people would run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.peers import wires
from bench.peers.wires import Wire
from bench.workers import ProgramWorker, Worker, make_worker

PREFETCH: Final = 50  # sends at once, whatever a peer calls it
ENVIRONMENT: Final = Path(sys.prefix) / "peers" / "bin"  # where `make` puts it
PROCESSES: Final = 10  # of Celery's prefork pool; each has five messages ahead

Start = Callable[[Mapping[str, str], Path], Worker]


@dataclass(frozen=True, slots=True)
class Peer:
    """One worker of the comparison.

    Attributes:
        name: As the tables and the chart have it.
        make: Makes it from its settings and the file for its output.
        wire: What it is sent.
        promises: It keeps a key before and after the send, and has its event confirmed.
    """

    name: str
    make: Start
    wire: Wire = wires.CONTRACT
    promises: bool = False


def _program(command: str, environment: Mapping[str, str], log: Path) -> Worker:
    program, *arguments = command.split()
    return ProgramWorker([str(ENVIRONMENT / program), *arguments], environment, log)


def _node(client: str, environment: Mapping[str, str], log: Path) -> Worker:
    return make_worker("node", {**environment, "HTTP_CLIENT": client}, log)


def _celery(name: str, module: str, pool: str, task: str = "deliver", *, promises: bool = False) -> Peer:
    command = f"celery --app bench.peers.{module} worker --loglevel WARNING --pool {pool}"
    return Peer(name, partial(_program, command), wires.celery(task), promises)


def _faststream(name: str, module: str, *, promises: bool = False) -> Peer:
    return Peer(name, partial(_program, f"faststream run bench.peers.{module}:app"), promises=promises)


_THREADS: Final = f"threads --concurrency {PREFETCH} --prefetch-multiplier 1"
_PREFORK: Final = f"prefork --concurrency {PROCESSES} --prefetch-multiplier {PREFETCH // PROCESSES}"
_DRAMATIQ: Final = f"dramatiq bench.peers.dramatiq_requests --processes 1 --threads {PREFETCH}"
_TASKIQ: Final = (
    f"taskiq worker bench.peers.taskiq_httpx:broker --workers 1 --max-async-tasks {PREFETCH} --ack-type when_executed"
)

OURS: Final = Peer("this worker", partial(make_worker, "stream"), promises=True)
PEERS: Final = (
    OURS,
    Peer("raw loop (aio-pika, aiohttp)", partial(make_worker, "floor")),
    Peer("Node, undici", partial(_node, "undici")),
    Peer("Node, axios", partial(_node, "axios")),
    _faststream("FastStream, aiohttp", "faststream_aiohttp"),
    _faststream("FastStream, httpx", "faststream_httpx"),
    Peer("taskiq, httpx", partial(_program, _TASKIQ), wires.TASKIQ),
    Peer("Dramatiq, requests", partial(_program, _DRAMATIQ), wires.DRAMATIQ),
    _celery("Celery threads, requests", "celery_requests", _THREADS),
    _celery("Celery prefork, requests", "celery_requests", _PREFORK),
    _faststream("FastStream, aiohttp, promises", "faststream_promises", promises=True),
    _celery("Celery threads, promises", "celery_promises", _THREADS, "deliver-once", promises=True),
)
