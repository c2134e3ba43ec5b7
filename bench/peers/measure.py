"""One peer, measured: a backlog as fast as it can on one core, then 150 messages a second."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import usage
from bench.measure import Stalled
from bench.peers.cores import start_on
from bench.peers.peers import PREFETCH, Peer
from bench.stage import Stage
from stream.contract.queues import INTAKE_EXCHANGE

if TYPE_CHECKING:
    from bench.graph_stub import Graph
    from bench.peers.wires import PeerLoad

WARM: Final = 300  # messages: start, imports and connections are behind the worker then
MESSAGES: Final = 1_000
RATE: Final = 150.0  # messages a second
STEADY_S: Final = 3.0
SETTLE_S: Final = 0.3  # until the last sends are acknowledged
QUIET_S: Final = 15.0  # what has not come then is lost; a start takes less
POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What was found.

    Attributes:
        cpu_ms: CPU time a message of the backlog, of the whole process tree, in milliseconds.
        rate: Messages of the backlog a second, on one core.
        steady_cpu_ms: CPU time a message at `RATE`, what an idle worker uses included.
        memory_mib: Of the tree at the end; what its processes share is counted once.
        p50_ms: From just before the publish until the request's first byte is at the Graph API, at `RATE`.
        p99_ms: The same.
        lost: Messages that were never sent.
        doubled: Requests that came for a message which had been sent.
    """

    cpu_ms: float
    rate: float
    steady_cpu_ms: float
    memory_mib: float
    p50_ms: float
    p99_ms: float
    lost: int
    doubled: int


class Arrivals:
    """The requests that the Graph stub has had since this was made.

    Args:
        graph: The stub; its earlier requests are left out.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._graph.new_arrivals()
        self.of: defaultdict[str, list[float]] = defaultdict(list)  # by recipient: when, in seconds since the epoch

    async def wait_for(self, count: int) -> int:
        """Wait until so many messages have come, or nothing more comes.

        Returns:
            How many have come.
        """
        since = time.monotonic()
        while len(self.of) < count and time.monotonic() - since < QUIET_S:
            await asyncio.sleep(POLL_S)
            for recipient, at in self._graph.new_arrivals():
                self.of[recipient].append(at)
                since = time.monotonic()
        return len(self.of)

    def span(self, recipients: Sequence[str]) -> tuple[float, float]:
        """When the last message of the warm-up came, and the last of these, in seconds since the epoch."""
        times = sorted(self.of[recipient][0] for recipient in recipients if recipient in self.of)
        return times[WARM - 1], times[-1]

    @property
    def requests(self) -> int:
        """All of them, those for one message each counted."""
        return sum(len(times) for times in self.of.values())


async def measure_peer(stage: Stage, load: PeerLoad, peer: Peer, core: int | None, tenants: list[str]) -> PeerRun:
    """Measure one peer, from its start to its end."""
    await load.prepare(peer.wire)
    arrivals = Arrivals(stage.graph)
    published = await load.publish(WARM + MESSAGES, tenants)
    log = stage.log("peer")
    worker = peer.make(_settings(stage, peer), log)
    await asyncio.to_thread(start_on, core, worker.start)
    try:
        warm = await arrivals.wait_for(WARM)
        if not warm:
            raise Stalled(f"{peer.name} sent nothing:\n{log.read_text(errors='replace')[-2000:]}")
        before = usage.cpu_ms(usage.tree(worker.pid))
        done = await arrivals.wait_for(len(published))
        await asyncio.sleep(SETTLE_S)
        between = usage.cpu_ms(usage.tree(worker.pid))
        sent = await load.publish_steadily(RATE, STEADY_S, tenants)
        await arrivals.wait_for(done + len(sent))
        await asyncio.sleep(SETTLE_S)
        pids = usage.tree(worker.pid)
        after, memory = usage.cpu_ms(pids), usage.proportional_mib(pids)
    finally:
        await asyncio.to_thread(worker.stop)
    if failed := await load.dead_letters():
        raise Stalled(f"{peer.name} rejected {failed} messages")
    began, ended = arrivals.span(published)
    p50, p99 = percentiles([(arrivals.of[to][0] - at) * 1000 for to, at in sent.items() if to in arrivals.of])
    return PeerRun(
        cpu_ms=(between - before) / (done - warm),
        rate=(done - WARM) / (ended - began),
        steady_cpu_ms=(after - between) / len(sent),
        memory_mib=memory,
        p50_ms=p50,
        p99_ms=p99,
        lost=len(published) + len(sent) - len(arrivals.of),
        doubled=arrivals.requests - len(arrivals.of),
    )


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The 50th and the 99th."""
    cuts = statistics.quantiles(values, n=100)
    return cuts[49], cuts[98]


def _settings(stage: Stage, peer: Peer) -> dict[str, str]:
    """What this worker needs, with everything on, and what the peers' programs read."""
    if stage.graph.logging_url is None:
        raise Stalled("nginx is needed: the simulator does not say when a message came")
    return {
        **stage.settings(PREFETCH, stage.graph.logging_url),
        "RABBITMQ_QUEUE": peer.wire.queue,
        "EVENTS_EXCHANGE": INTAKE_EXCHANGE,
    }
