"""A network for the nodes of a cluster: a namespace each, and cables that a test can pull.

Two switches join them: one carries what nodes say to each other, the other what clients on this machine say to them.
This machine has the number 0, and a cable to the nodes' switch too: a client that takes that way is cut off together
with a node, or alone. A cable that is pulled loses packets silently, in both directions. All of it lives in processes
that only sleep: it ends with them, and they end with this interpreter.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from sandbox.processes import ServerError, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

START_SECONDS = 10
FIRST_PREFIX, PREFIXES = 200, 56  # 10.200 to 10.255
Switch = Literal["peers", "clients"]
SWITCHES: tuple[Switch, Switch] = ("peers", "clients")


@dataclass(frozen=True)
class Place:
    """Where a server runs.

    Attributes:
        host: The address on which clients reach it.
        peer: The address on which other nodes reach it.
        own: The address on which both do, each through their own switch: for servers that tell clients of each other.
        command: What to put before a command, so that it runs there.
    """

    host: str = "127.0.0.1"
    peer: str = "127.0.0.1"
    own: str = "127.0.0.1"
    command: tuple[str, ...] = ()


HERE = Place()


class Network:
    """Namespaces with the numbers 1 to `count`. Use as a context manager.

    Args:
        count: How many.
        base_dir: For log files.
    """

    def __init__(self, count: int, base_dir: Path) -> None:
        base_dir.mkdir(parents=True, exist_ok=True)
        self._count = count
        self._spaces = [ServerProcess("namespace", base_dir / "namespace.log") for _ in range(count + 1)]
        self._prefix = ""

    @staticmethod
    def missing() -> str:
        """What this machine lacks for it, or nothing."""
        if os.name != "posix" or os.geteuid() != 0:
            return "network namespaces need root"
        programs = [name for name in ("ip", "unshare", "nsenter") if not shutil.which(name)]
        if programs:
            return f"there is no {' and no '.join(programs)} on this machine"
        allowed = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0
        return "" if allowed else "this machine does not allow network namespaces"

    def place(self, number: int) -> Place:
        """Where a node runs."""
        peer, host, own = (f"{self._prefix}.{subnet}.{number}" for subnet in (1, 2, 3))
        return Place(host, peer, own, self._inside(number))

    @property
    def gateway(self) -> str:
        """The address at which places reach what clients on this machine listen at."""
        return f"{self._prefix}.2.254"

    def pull(self, number: int, *switches: Switch) -> None:
        """Pull the cables of a number out of these switches, or out of both."""
        for switch in switches or SWITCHES:
            self._ip(0, "link", "set", f"{switch}{number}", "nomaster")

    def plug(self, number: int) -> None:
        """Put the cables of a number back."""
        for switch in SWITCHES:
            self._ip(0, "link", "set", f"{switch}{number}", "master", switch)

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything; its cables end with it."""
        for space in self._spaces:
            space.kill()

    def _build(self) -> None:
        self._prefix = _free_prefix()
        for space in self._spaces:
            space.start(["unshare", "--net", "sleep", "infinity"], os.environ, _apart(space), START_SECONDS)
        for switch in SWITCHES:
            self._ip(0, "link", "add", switch, "type", "bridge")
            self._ip(0, "link", "set", switch, "up")
        for number in range(1, self._count + 1):
            self._ip(number, "link", "set", "lo", "up")
            for subnet, switch in enumerate(SWITCHES, start=1):
                self._lay_cable(switch, number, switch, self._spaces[number].pid)
                self._ip(number, "address", "add", f"{self._prefix}.{subnet}.{number}/24", "dev", switch)
                self._ip(number, "link", "set", switch, "up")
            self.plug(number)
        for subnet, switch in enumerate(SWITCHES, start=1):
            here = f"wa{subnet}-{os.getpid()}"
            self._lay_cable(switch, 0, here, os.getpid())
            _run("ip", "address", "add", f"{self._prefix}.{subnet}.254/24", "dev", here)
            _run("ip", "link", "set", here, "up")
        self.plug(0)
        self._lead_to_own_addresses()

    def _lay_cable(self, switch: Switch, number: int, name: str, pid: int) -> None:
        """One end is the switch's, the other has a name in the namespace of a process."""
        end = f"{switch}{number}"
        self._ip(0, "link", "add", end, "type", "veth", "peer", "name", name, "netns", str(pid))
        self._ip(0, "link", "set", end, "up")

    def _lead_to_own_addresses(self) -> None:
        numbers = set(range(1, self._count + 1))
        for number in numbers:
            place = self.place(number)
            self._ip(number, "address", "add", f"{place.own}/32", "dev", "lo")
            _run("ip", "route", "add", place.own, "via", place.host)
            for other in numbers - {number}:
                self._ip(other, "route", "add", place.own, "via", place.peer)

    def _inside(self, number: int) -> tuple[str, ...]:
        return ("nsenter", f"--net=/proc/{self._spaces[number].pid}/ns/net")

    def _ip(self, number: int, *arguments: str) -> None:
        _run(*self._inside(number), "ip", *arguments)


def _apart(space: ServerProcess) -> Callable[[], bool]:
    """Whether its namespace is another one than ours."""
    return lambda: Path(f"/proc/{space.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def _free_prefix() -> str:
    """Two bytes of addresses that this machine does not use; programs that start at once begin their search apart."""
    used = set(re.findall(r"inet (10\.\d+)\.", _run("ip", "-4", "address")))
    numbers = (FIRST_PREFIX + (os.getpid() + step) % PREFIXES for step in range(PREFIXES))
    return next(prefix for number in numbers if (prefix := f"10.{number}") not in used)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
