"""The workers that are compared, each as processes that can be started, measured and ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from prometheus_client.parser import text_string_to_metric_families

from bench import usage
from sandbox.processes import environment_without_proxies
from sandbox.worker import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE: Final = Path(__file__).parent
NODE_MODULES: Final = HERE / "node" / "node_modules"
NODE_INSTALL_SECONDS: Final = 120
DELIVERED: Final = "messages_delivered_total"


class Worker(Protocol):
    """One process to measure."""

    @property
    def pid(self) -> int:
        """Its first process."""

    def start(self) -> None:
        """Start it."""

    def stop(self) -> None:
        """End it, with what it holds."""


class ProgramWorker:
    """A worker that is one program with its settings in the environment.

    Args:
        command: How it is started.
        environment: Its settings.
        log: Where its output goes.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = {**environment_without_proxies(), **environment}
        self._log = log

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def start(self) -> None:
        """Start it; it consumes when it can."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, cwd=HERE.parent, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )

    def stop(self) -> None:
        """Kill it, and what it has started: it has nothing that needs a graceful stop."""
        for pid in usage.tree(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


class StreamWorker:
    """This project's worker, as users run it.

    Args:
        environment: Its settings.
        log: Where its JSON lines go.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._worker = WorkerProcess(environment, log)

    @property
    def pid(self) -> int:
        """Its first process."""
        return self._worker.process.pid

    def start(self) -> None:
        """Start it and wait until it consumes."""
        self._worker.start()

    def stop(self) -> None:
        """Kill it; new queues are made before the next one starts."""
        self._worker.kill()

    def pause(self) -> None:
        """Freeze it, so that the load is there before any replica takes a part of it."""
        self._worker.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue it."""
        self._worker.process.send_signal(signal.SIGCONT)

    def delivered(self) -> int:
        """How many messages it has delivered, by its metrics, all labels together."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._worker.port}/metrics", timeout=5) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        return int(sum(sample.value for each in families for sample in each.samples if sample.name == DELIVERED))


def make_worker(kind: str, environment: Mapping[str, str], log: Path) -> Worker:
    """One worker of a kind: `stream`, `floor` or `node`."""
    match kind:
        case "floor":
            return ProgramWorker([sys.executable, "-m", "bench.floor"], environment, log)
        case "node":
            return ProgramWorker(["node", str(HERE / "node" / "worker.mjs")], environment, log)
        case _:
            return StreamWorker(environment, log)


def node_problem() -> str | None:
    """Why the Node worker cannot run here; its packages are installed if they are missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "node and npm are not on this machine"
    installed, lock = NODE_MODULES / ".package-lock.json", HERE / "node" / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return None
    try:
        subprocess.run(
            ["npm", "ci", "--silent"], cwd=HERE / "node", timeout=NODE_INSTALL_SECONDS, capture_output=True, check=True
        )
    except subprocess.SubprocessError as error:
        return f"npm could not install its packages ({type(error).__name__})"
    return None
