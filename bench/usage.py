"""What a process and its children have used, from `/proc`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

TICK_MS: Final = 1000 / os.sysconf("SC_CLK_TCK")
_UTIME, _CUTIME_END = 11, 15  # of the fields after the program's name: utime, stime, cutime, cstime


def tree(pid: int) -> list[int]:
    """The process and all that it started and that still run."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def cpu_ms(pids: list[int]) -> float:
    """CPU time in user and system mode of these processes and their ended children, in milliseconds."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(value) for value in fields[_UTIME:_CUTIME_END])
    return ticks * TICK_MS


def peak_mib(pids: list[int]) -> float:
    """The highest resident memory of each of these processes so far, added up, in MiB."""
    kib = 0
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            kib += next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    return kib / 1024
