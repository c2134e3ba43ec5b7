"""A private Redis: a server of its own on a free port, with every file in one folder."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from sandbox.processes import PrivateServer, answers, free_ports

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 15


class PrivateRedis(PrivateServer):
    """A redis-server; its data survive its end only with `appendonly`."""

    def __init__(self, base_dir: Path, *, appendonly: bool = False) -> None:
        super().__init__("Redis", base_dir)
        (self.port,) = free_ports(1)
        self._appendonly = appendonly

    @staticmethod
    def installed() -> bool:
        """Whether this machine has the program."""
        return shutil.which("redis-server") is not None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {
            "--bind": "127.0.0.1",
            "--port": str(self.port),
            "--dir": str(self._dir),
            "--save": "",
            "--appendonly": "yes" if self._appendonly else "no",
        }
        command = ["redis-server", *(part for option in options.items() for part in option)]
        self._process.start(command, os.environ, lambda: answers(self.port, b"PING\r\n", b"+PONG"), START_SECONDS)
