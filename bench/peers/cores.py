"""One core for the worker, the others for whatever it talks to: where Linux lets a process choose its cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def set_one_apart() -> int | None:
    """Keep this process, and what it starts from now on, off one core.

    Returns:
        The core that is left for the worker; `None` where there is no second one, or no choice.
    """
    if sys.platform != "linux" or len(cores := sorted(os.sched_getaffinity(0))) == 1:
        return None
    os.sched_setaffinity(0, cores[:-1])
    return cores[-1]


def start_on(core: int | None, start: Callable[[], None]) -> None:
    """Start a worker on this core: what a thread starts has the thread's cores, so call it in a thread of its own."""
    if sys.platform != "linux" or core is None:
        start()
        return
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        start()
    finally:
        os.sched_setaffinity(0, mine)
