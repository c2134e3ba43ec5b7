"""Rounds of all peers in turn, their tables, and the chart."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from bench import tables
from bench.peers.chart import Bar, draw
from bench.peers.cores import set_one_apart
from bench.peers.measure import PeerRun, measure_peer
from bench.peers.peers import OURS, PEERS, Peer
from bench.peers.wires import PeerLoad
from bench.rounds import TENANTS
from bench.stage import Stage, open_stage
from bench.workers import HERE, node_problem

ROUNDS: Final = 3
WITHIN_S: Final = 320.0  # of six minutes; starting and ending the servers takes the rest
CHART: Final = HERE.parent / "docs" / "peers.svg"
FIGURES: Final = {  # a column's heading, by its field, and how its values are written
    "cpu_ms": ("CPU ms/msg", ".3f"),
    "rate": ("msg/s on one core", ".0f"),
    "steady_cpu_ms": ("CPU ms/msg at 150/s", ".3f"),
    "memory_mib": ("MiB", ".0f"),
    "p50_ms": ("p50 ms at 150/s", ".1f"),
    "p99_ms": ("p99 ms at 150/s", ".1f"),
}

Results = Mapping[str, Sequence[PeerRun]]


async def run_peers() -> None:
    """Measure all peers, print the tables and draw the chart."""
    peers = _present()
    core = set_one_apart()
    print(f"The worker has {_place(core)}")
    async with open_stage() as stage, PeerLoad(stage.rabbitmq_url) as load:
        results = await _rounds(stage, load, peers, core)
    print(f"\nMedian (lowest-highest) of the rounds\n\n{tables.table(*absolute(results))}")
    print(f"\nAs a multiple of this worker's, round by round\n\n{tables.table(*multiples(results))}")
    CHART.write_text(chart(results))
    print(f"\nThe chart is in {CHART.relative_to(HERE.parent)}")


def absolute(results: Results) -> tuple[list[str], list[list[str]]]:
    """The figures themselves, and what was lost or sent twice in all rounds together."""
    columns = ["worker", *(heading for heading, _ in FIGURES.values()), "lost", "doubled"]
    rows = [
        [
            name,
            *(tables.spread([getattr(run, field) for run in runs], form) for field, (_, form) in FIGURES.items()),
            str(sum(run.lost for run in runs)),
            str(sum(run.doubled for run in runs)),
        ]
        for name, runs in results.items()
    ]
    return columns, rows


def multiples(results: Results) -> tuple[list[str], list[list[str]]]:
    """Each figure divided by this worker's in the same round."""
    columns = ["worker", *(heading for heading, _ in FIGURES.values())]
    rows = [
        [name, *(tables.spread(ratios(runs, results[OURS.name], field), ".2f") for field in FIGURES)]
        for name, runs in results.items()
    ]
    return columns, rows


def ratios(runs: Sequence[PeerRun], ours: Sequence[PeerRun], field: str) -> list[float]:
    """One figure as a multiple of this worker's, round by round."""
    return [getattr(run, field) / getattr(our, field) for run, our in zip(runs, ours, strict=True)]


def chart(results: Results) -> str:
    """CPU a message of all peers, as bars."""
    kinds = {peer.name: "promises" if peer.promises else "bar" for peer in PEERS} | {OURS.name: "ours"}
    bars = [
        Bar(name, median(ratios(runs, results[OURS.name], "cpu_ms")), kinds[name]) for name, runs in results.items()
    ]
    note = "promises: a key before and after each send, and a confirmed event, as this worker has them"
    return draw("CPU time per message, this worker = 1", note, bars)


def _present() -> list[Peer]:
    problem = node_problem()
    if problem:
        print(f"node: skipped, {problem}")
    else:
        print("Node", subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip())
    return [peer for peer in PEERS if not (problem and peer.name.startswith("Node"))]


def _place(core: int | None) -> str:
    return "no core of its own" if core is None else f"core {core} to itself, everything else has the others"


async def _rounds(stage: Stage, load: PeerLoad, peers: Sequence[Peer], core: int | None) -> Results:
    """All peers in turn, so that what else the machine does meets all of them; fewer rounds where time is short."""
    results: dict[str, list[PeerRun]] = {peer.name: [] for peer in peers}
    started = time.monotonic()
    for number in range(1, ROUNDS + 1):
        begun = time.monotonic()
        for peer in peers:
            run = await measure_peer(stage, load, peer, core, stage.new_tenants(TENANTS))
            results[peer.name].append(run)
            print(f"  round {number}: {peer.name}: {run.rate:.0f} msg/s, {run.cpu_ms:.3f} ms/msg", flush=True)
        took = time.monotonic() - begun
        if number < ROUNDS and time.monotonic() - started + took > WITHIN_S:
            print(f"  no round {number + 1}: it would not be over within {WITHIN_S:.0f} s")
            break
    return results
