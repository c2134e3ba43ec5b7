"""What a process and its children, and the whole machine, have used, from `/proc`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

TICK_MS: Final = 1000 / os.sysconf("SC_CLK_TCK")
_CORES: Final = os.cpu_count() or 1
_UTIME, _CUTIME_END = 11, 15  # of the fields after the program's name: utime, stime, cutime, cstime
_IDLE, _IOWAIT, _STEAL_END = 3, 4, 8  # of the machine's: user, nice, system, idle, iowait, irq, softirq, steal, guests


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


def tree_cpu_ms(pid: int) -> float:
    """The same of a process and all that it started, in milliseconds."""
    return cpu_ms(tree(pid))


def peak_mib(pids: list[int]) -> float:
    """The highest resident memory of each of these processes so far, added up, in MiB."""
    return _memory_mib(pids, "VmHWM")


def resident_mib(pids: list[int]) -> float:
    """The resident memory of these processes now, added up, in MiB."""
    return _memory_mib(pids, "VmRSS")


def proportional_mib(pids: list[int]) -> float:
    """The memory of these processes now, in MiB: what several of them share is counted once."""
    kib = 0
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def machine_ms() -> float:
    """CPU time that everything on this machine has used since its start, all cores added up, in milliseconds."""
    return busy_ticks(Path("/proc/stat").read_text()) * TICK_MS


def busy_ticks(stat: str) -> int:
    """The ticks that all cores together did not idle, from `/proc/stat`; waiting for a disk counts as idle."""
    ticks = [int(value) for value in stat.splitlines()[0].split()[1 : 1 + _STEAL_END]]
    return sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT]


def machine_share(used_ms: float, seconds: float) -> float:
    """The share of all cores' time within so many seconds that this CPU time is, from 0 to 1."""
    return used_ms / (1000 * seconds * _CORES)


def _memory_mib(pids: list[int], field: str) -> float:
    kib = 0
    for pid in pids:
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            kib += next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
    return kib / 1024
