"""A worker as its users run it: `faststream run stream.app:app`, in a separate process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from sandbox.network import HERE
from sandbox.processes import environment_without_proxies, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandbox.network import Place

ROOT = Path(__file__).parent.parent
READY_WITHIN_S = 60.0  # a process starts in two seconds; a machine that has no CPU for it is no failure
POLL_S = 0.05


class WorkerError(RuntimeError):
    """The worker did not become ready, or did not stop."""


class WorkerProcess:
    """One replica.

    Args:
        environment: Its settings, e.g. `RABBITMQ_URL`; without an `HTTP_PORT`, one is chosen here.
        log: Where its output goes.
        root: Where its code is.
        place: Where it runs.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, root: Path = ROOT, place: Place = HERE) -> None:
        self.port = int(environment.get("HTTP_PORT") or free_ports(1)[0])
        self.log = log
        self.host = place.host
        self._root = root
        self._before = place.command
        here = {"HTTP_HOST": self.host, "HTTP_PORT": str(self.port)}
        self._environment = {**environment_without_proxies(), **environment, **here}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        if self._process is None:
            raise WorkerError("the worker was not started")
        return self._process

    def start(self, *, wait: bool = True) -> None:
        """Start, and wait until it consumes."""
        program = Path(sys.executable).parent / "faststream"
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._before, str(program), "run", "stream.app:app"],
                cwd=self._root,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, seconds: float = READY_WITHIN_S) -> None:
        """Wait for `/health/ready`."""
        deadline = time.monotonic() + seconds
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise WorkerError(f"the worker is not ready (exit code {self.process.poll()}):\n{self.tail()}")
            time.sleep(POLL_S)

    def ready(self) -> bool:
        """Whether it says that it consumes."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.port}/health/ready", timeout=1) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's OK
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
        except OSError:
            pass
        return False

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels, 0 without an answer."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.port}/metrics", timeout=1) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0.0
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0].split()[0] == name)

    def stop(self, seconds: float = 40.0) -> int:
        """SIGTERM, as a deploy does it.

        Returns:
            The exit code.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise WorkerError(f"the worker did not stop within {seconds:g} s:\n{self.tail()}") from None

    def kill(self) -> None:
        """SIGKILL, as a machine does it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Its JSON log lines so far, without one that is being written."""
        for line in self.log.read_bytes().splitlines(keepends=True):
            if line.startswith(b"{") and line.endswith(b"\n"):
                yield orjson.loads(line)

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
