"""Server processes that always end with the process that started them."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, ClassVar, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

POLL_SECONDS = 0.05
LOG_TAIL_LINES = 15
REAP_SECONDS = 2

# Waits for the end of its input, which comes when its parent ends in any way, then kills the group that it watches. The
# kernel's own parent-death signal depends on the thread that started the server, and threads end earlier.
GUARDIAN = 'read -r _; kill -s KILL -- "-$0"'


def environment_without_proxies() -> dict[str, str]:
    """This process's environment without proxies, which could not reach servers on this machine."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


class ServerError(RuntimeError):
    """A server did not start; the message has the end of its log."""


class ServerProcess:
    """One server in its own process group; the group is killed when this interpreter ends in any way."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._server: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the server's first process is there, paused or not."""
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int:
        """The number of its first process.

        Raises:
            ServerError: It does not run.
        """
        if self._server is None:
            raise ServerError(f"{self.name} does not run")
        return self._server.pid

    def start(self, command: Sequence[str], env: Mapping[str, str], ready: Callable[[], bool], seconds: float) -> None:
        """Start it and wait until `ready` returns true, for at most `seconds`."""
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", GUARDIAN, str(self._server.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # not ours: a reader of our output would wait for the guardian's end too
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        atexit.register(self.kill)
        self._wait_until(ready, seconds)

    def stop(self, seconds: float = 30) -> None:
        """Ask it to end, and kill it after `seconds`."""
        if self._server is None:
            return
        self.resume()  # a stopped process does not see the request
        with suppress(ProcessLookupError):
            self._server.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._server.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End the whole group at once, without any clean-up."""
        self._signal(signal.SIGKILL)
        if self._server is not None:
            _reap(self._server)
            self._server = None
        self._dismiss_guardian()
        atexit.unregister(self.kill)

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue it after a pause."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._server is not None:
            with suppress(ProcessLookupError, PermissionError):  # macOS refuses when only a zombie is left
                os.killpg(self._server.pid, number)

    def _dismiss_guardian(self) -> None:
        if self._guardian is not None:
            self._guardian.kill()  # before its input closes: it must not signal a group number that is free again
            if self._guardian.stdin is not None:
                self._guardian.stdin.close()
            _reap(self._guardian)
            self._guardian = None

    def _wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not ready():
            problem = "ended" if not self.running else "is not ready" if time.monotonic() > end else None
            if problem:
                self.kill()
                raise ServerError(f"{self.name} {problem} after its start; the end of {self.log}:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def _reap(killed: subprocess.Popen[bytes]) -> None:
    # With a time limit: Ctrl-C inside Popen.poll() can leave a lock taken, and a wait without a limit would never end.
    with suppress(subprocess.TimeoutExpired):
        killed.wait(REAP_SECONDS)


class PrivateServer:
    """A server that a test may stop, kill, pause and start again on the same port and data."""

    can_stop: ClassVar[Literal[True]] = True

    def __init__(self, name: str, base_dir: Path) -> None:
        base_dir.mkdir(parents=True, exist_ok=True)
        self._dir = base_dir.resolve()
        self._process = ServerProcess(name, self._dir / f"{name.lower()}.log")

    @property
    def pid(self) -> int:
        """Its first process, while it runs."""
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it gracefully."""
        self._process.stop()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()

    def close(self) -> None:
        """End it at once; it will not be started again."""
        self.kill()

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing answers."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on after a pause."""
        self._process.resume()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # Ctrl-C during the start, too: `__exit__` is not called then
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nothing listens now."""
    with ExitStack() as held:  # held together, so that they differ
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def answers(port: int, question: bytes, answer: bytes, host: str = "127.0.0.1") -> bool:
    """Whether a server on this machine answers a question with bytes that start as expected."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1) as connection:
        connection.sendall(question)
        return connection.recv(1024).startswith(answer)
    return False
