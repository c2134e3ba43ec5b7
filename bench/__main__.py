"""Run a benchmark: `python -m bench quick|full|scale|isolation|letters|peers`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from bench import plans
from bench.isolation import run_isolation
from bench.letters import run_letters
from bench.measure import Stalled
from bench.peers.plan import run_peers
from bench.stage import open_stage
from sandbox.processes import ServerError
from sandbox.worker import WorkerError
from sandbox.world import WorldError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.stage import Stage

PLANS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "quick": plans.quick,
    "full": plans.full,
    "scale": plans.scale,
}
ON_STAGES_OF_THEIR_OWN: dict[str, Callable[[], Awaitable[None]]] = {
    "isolation": run_isolation,
    "letters": run_letters,
    "peers": run_peers,
}
WARNING = (
    "{cores} cores are shared by publisher, RabbitMQ, Redis, the Graph stub and the worker: compare rows of one run "
    "with each other; the absolute figures are this machine's."
)


def main() -> int:
    """Run the plan that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("plan", choices=[*PLANS, *ON_STAGES_OF_THEIR_OWN])
    plan = parser.parse_args().plan
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything that was started ends too
    started = time.monotonic()
    print(WARNING.format(cores=len(os.sched_getaffinity(0))))
    print("Python", sys.version)
    try:
        asyncio.run(_run(plan))
    except (ServerError, WorkerError, WorldError, Stalled) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{time.monotonic() - started:.0f} s")
    return 0


async def _run(plan: str) -> None:
    if plan in ON_STAGES_OF_THEIR_OWN:
        await ON_STAGES_OF_THEIR_OWN[plan]()
        return
    async with open_stage() as stage:
        await PLANS[plan](stage)


if __name__ == "__main__":
    sys.exit(main())
