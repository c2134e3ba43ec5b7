"""Tables of medians, with the lowest and highest value of the rounds."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.latency import Latency
    from bench.measure import Run

RUN_COLUMNS = (
    "worker",
    "prefetch",
    "msg/s",
    "CPU ms/msg",
    "peak MiB",
    "Redis commands/msg",
    "Redis reads/msg",
    "broker reads/msg",
    "broker writes/msg",
)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of even width."""
    widths = [max(len(row[each]) for row in (columns, *rows)) for each in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(columns), line(["-" * width for width in widths]), *(line(row) for row in rows)])


def spread(values: Sequence[float], form: str = ".0f") -> str:
    """The median, and from the lowest to the highest value where there are several."""
    middle = format(median(values), form)
    return f"{middle} ({min(values):{form}}-{max(values):{form}})" if len(values) > 1 else middle


def run_row(worker: str, prefetch: int, runs: Sequence[Run]) -> list[str]:
    """One worker's rounds."""
    with_redis = worker.startswith("stream")
    broker = [run.broker for run in runs if run.broker]
    return [
        worker,
        str(prefetch),
        spread([run.rate for run in runs]),
        spread([run.cpu_ms for run in runs], ".3f"),
        spread([run.peak_mib for run in runs]),
        spread([run.redis[0] for run in runs], ".2f") if with_redis else "-",
        spread([run.redis[1] for run in runs], ".2f") if with_redis else "-",
        spread([reads for reads, _ in broker], ".2f") if broker else "-",
        spread([writes for _, writes in broker], ".2f") if broker else "-",
    ]


def latency_row(worker: str, prefetch: int, found: Latency) -> list[str]:
    """One worker's latency."""
    return [
        worker,
        str(prefetch),
        f"{found.rate:.0f}",
        *(f"{each:.1f}" for each in (found.p50_ms, found.p95_ms, found.p99_ms)),
    ]


def ratio(runs: Sequence[Run], base: Sequence[Run]) -> tuple[str, str]:
    """CPU a message and messages a second, round by round as a multiple of the base."""
    pairs = list(zip(runs, base, strict=True))
    return (
        spread([run.cpu_ms / other.cpu_ms for run, other in pairs], ".2f"),
        spread([run.rate / other.rate for run, other in pairs], ".2f"),
    )
