"""Whether more tenants or a longer queue change what a message costs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import tables
from bench.measure import WARM, Run, measure
from bench.rounds import BASE_PREFETCH, TENANTS
from stream.contract.identifiers import TenantId
from stream.tenants.cache import entry_key
from stream.tenants.codec import CredentialCodec
from stream.tenants.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.stage import Stage

COLUMNS: Final = ("case", "msg/s", "CPU ms/msg", "CPU, base = 1", "peak MiB")
TTL_MS: Final = 900_000


@dataclass(frozen=True, slots=True)
class Case:
    """One load.

    Attributes:
        tenants: How many, in turn.
        behind: Messages that lie on the queue behind the measured ones.
        cached: Whether every tenant's credentials are in Redis before the worker starts.
        met: Whether the worker has sent a message of every tenant before measuring begins.
    """

    tenants: int = TENANTS
    behind: int = 0
    cached: bool = True
    met: bool = True

    @property
    def name(self) -> str:
        """For a table."""
        known = "" if self.met else ", new to the worker" if self.cached else ", new to all"
        return f"{self.tenants:,} tenants{known}" + (f", {self.behind:,} messages behind" if self.behind else "")


BASE: Final = Case()


async def run_cases(stage: Stage, cases: Sequence[Case], messages: int, rounds: int) -> None:
    """Measure the cases in turn, after the base case each round, and print the table."""
    results: dict[Case, list[Run]] = {case: [] for case in (BASE, *cases)}
    for _ in range(rounds):
        for case, runs in results.items():
            tenants = stage.new_tenants(case.tenants)
            if case.cached:
                know(stage, tenants)
            run = await measure(
                stage,
                "stream",
                prefetch=BASE_PREFETCH,
                messages=messages,
                tenants=tenants,
                behind=case.behind,
                warm=max(WARM, case.tenants) if case.met else WARM,
            )
            runs.append(run)
            print(f"  {case.name}: {run.rate:.0f} msg/s, {run.cpu_ms:.3f} ms/msg", flush=True)
    base = results[BASE]
    rows = [
        [
            case.name,
            tables.spread([run.rate for run in runs]),
            tables.spread([run.cpu_ms for run in runs], ".3f"),
            tables.ratio(runs, base)[0],
            tables.spread([run.peak_mib for run in runs]),
        ]
        for case, runs in results.items()
    ]
    print(f"\n{messages:,} messages each\n\n{tables.table(COLUMNS, rows)}")


def know(stage: Stage, tenants: list[str]) -> None:
    """Put the tenants' credentials into Redis as a worker would have done after a fetch."""
    codec = CredentialCodec([stage.cache_key])
    now = time.time()
    entries = {
        entry_key(tenant): codec.encode(Credentials(tenant, f"of-{tenant}", cached_at=now, ttl_ms=TTL_MS))
        for tenant in map(TenantId, tenants)
    }
    stage.redis.store(entries, TTL_MS)
