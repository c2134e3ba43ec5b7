"""A fixed share of a core for a process, as a container's CPU limit gives it, by Linux control groups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

ROOT: Final = Path("/sys/fs/cgroup")
PERIOD_US: Final = 100_000  # as containers have; with 10 ms a message costs 50 % more CPU


class Limits:
    """Groups of processes that may use no more than a share of a core. Use as a context manager.

    The groups are removed at its end: their processes must have ended before.

    Args:
        root: Where the control groups are.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._groups: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for group in self._groups:
            group.rmdir()  # its files are the kernel's and go with it

    def limit(self, pids: Iterable[int], share: float) -> None:
        """Put these processes, all their threads with them, into a new group that may use this share of one core.

        Raises:
            OSError: It cannot be done here.
        """
        parent, settings = layout(self._root, share)
        group = parent / f"bench-{os.getpid()}-{len(self._groups)}"
        group.mkdir()
        self._groups.append(group)
        for name, value in settings.items():
            (group / name).write_text(value)
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))


def layout(root: Path, share: float) -> tuple[Path, dict[str, str]]:
    """The folder for new groups, and what their files must hold for this share of one core: version 1, or 2."""
    quota_us = round(share * PERIOD_US)
    if (root / "cpu").is_dir():
        return root / "cpu", {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota_us)}
    return root, {"cpu.max": f"{quota_us} {PERIOD_US}"}


def limit_problem(root: Path = ROOT) -> str | None:
    """Why no process can be limited here; tried with a group of none."""
    try:
        with Limits(root) as limits:
            limits.limit([], share=1.0)
    except OSError as error:
        return f"no control group with a CPU limit can be made: {error}"
    return None
