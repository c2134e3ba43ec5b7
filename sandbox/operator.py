"""An operator at the shell: the `stream` command in a process of its own, shown as it is typed."""

from __future__ import annotations

import asyncio
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.processes import environment_without_proxies
from sandbox.worker import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROGRAM = Path(sys.executable).parent / "stream"
WIDTH = 78  # columns
NEXT_LINE = " \\\n    "


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    text: str


class Operator:
    """Runs `stream`.

    Args:
        environment: `RABBITMQ_URL` and `REDIS_URL`, as the worker has them.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        # The path: this checkout's code runs, whichever one the program was installed from.
        self._environment = {**environment_without_proxies(), **environment, "PYTHONPATH": str(ROOT)}

    async def run(self, *words: str) -> Ended:
        """Run one command, silently."""
        process = await asyncio.create_subprocess_exec(
            str(PROGRAM),
            *words,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return Ended(process.returncode or 0, output.decode().strip())

    async def type(self, *words: str) -> Ended:
        """Run one command; print it before, and afterwards what it printed."""
        print(f"\n{typed(words)}", flush=True)
        ended = await self.run(*words)
        print(ended.text, flush=True)
        return ended


def typed(words: Sequence[str]) -> str:
    """A `stream` command as it stands in a terminal, on as many lines as it needs."""
    lines = ["$ stream"]
    for part in _parts(words):
        if len(lines[-1].rpartition("\n")[2]) + len(part) < WIDTH:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return NEXT_LINE.join(lines)


def _parts(words: Sequence[str]) -> list[str]:
    """The words as a shell takes them, an option together with its value."""
    parts: list[str] = []
    for word in words:
        if parts and parts[-1].startswith("--") and " " not in parts[-1] and not word.startswith("--"):
            parts[-1] += f" {shlex.quote(word)}"
        else:
            parts.append(shlex.quote(word))
    return parts
