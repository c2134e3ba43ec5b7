"""Redis that survives the loss of a server: a master with a replica and three Sentinels, and a Redis Cluster."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from sandbox.processes import PrivateServer, ServerError, answers, free_ports
from sandbox.redis import START_SECONDS, PrivateRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MASTER = "mymaster"
DOWN_AFTER_MS = 1_000  # a server that is silent for so long is down
NODES = 6  # three masters, and a replica of each
READY_SECONDS = 30
REPLICATING_AT_ONCE = {"--repl-diskless-sync-delay": "0"}  # else it waits 5 s for more replicas
POLL_SECONDS = 0.1


class Sentinel(PrivateServer):
    """A Sentinel; it writes what it learns into its file.

    Args:
        base_dir: Where all its files go.
        master: The port of the master, at first.
        password: For the servers.
        own_password: For itself.
    """

    def __init__(self, base_dir: Path, master: int, password: str, own_password: str) -> None:
        super().__init__("Sentinel", base_dir)
        (self.port,) = free_ports(1)
        self._own_password = own_password
        self._file = self._dir / "sentinel.conf"
        self._file.write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self._dir}\nrequirepass {own_password}\n"
            f"sentinel sentinel-pass {own_password}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {master} 2\nsentinel auth-pass {MASTER} {password}\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\nsentinel failover-timeout {MASTER} 5000\n"
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = ["redis-server", str(self._file), "--sentinel"]
        login = f"AUTH {self._own_password}\r\n".encode()
        self._process.start(command, os.environ, lambda: answers(self.port, login, b"+OK"), START_SECONDS)


class SentinelRedis:
    """Two servers, of which one is the master, and three Sentinels.

    Args:
        base_dir: Where all files go.
    """

    def __init__(self, base_dir: Path) -> None:
        self.password, self.sentinel_password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
        first = PrivateRedis(base_dir / "one", password=self.password, options=REPLICATING_AT_ONCE)
        replica_of = {"--replicaof": f"127.0.0.1 {first.port}", **REPLICATING_AT_ONCE}
        self.servers = [first, PrivateRedis(base_dir / "two", password=self.password, options=replica_of)]
        self.sentinels = [
            Sentinel(base_dir / f"sentinel-{number}", first.port, self.password, self.sentinel_password)
            for number in range(3)
        ]
        self._started = ExitStack()

    @property
    def url(self) -> str:
        """What `REDIS_URL` is set to."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{self.password}@{hosts}/{MASTER}/0?sentinel_password={self.sentinel_password}"

    def ask(self, *words: str) -> str:
        """Ask a Sentinel, in the words of `redis-cli`."""
        return cli(self.sentinels[0].port, *words, password=self.sentinel_password)

    @property
    def master(self) -> PrivateRedis:
        """The server that the Sentinels take for the master."""
        port = self.ask("sentinel", "get-master-addr-by-name", MASTER).split()[1]
        return next(server for server in self.servers if str(server.port) == port)

    def lose_master(self) -> PrivateRedis:
        """Kill the master and wait for another one; returns the one that is away."""
        old = self.master
        old.kill()
        wait_until(lambda: self.master is not old, "the Sentinels name another master")
        return old

    def fail_over(self) -> None:
        """Let the replica take over from a master that goes on, as an operator does it."""
        old = self.master
        wait_until(lambda: self.ask("sentinel", "failover", MASTER).strip() == "OK", "the Sentinels agree")
        wait_until(lambda: self.master is not old, "the Sentinels name another master")

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for server in (*self.servers, *self.sentinels):
                starting.enter_context(server)
            wait_until(self.whole, "each Sentinel knows the others and the replica, which has what its master has")
            self._started = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def whole(self) -> bool:
        """Whether nobody is away, and the replica follows."""
        wanted = {"num-slaves": "1", "num-other-sentinels": "2"}
        for sentinel in self.sentinels:
            facts = cli(sentinel.port, "sentinel", "master", MASTER, password=self.sentinel_password).split()
            if any(facts[facts.index(name) + 1] != value for name, value in wanted.items()):
                return False
        return any(replicated(server.port, self.password) for server in self.servers)


class ClusteredRedis:
    """Three masters, each with a replica.

    Args:
        base_dir: Where all files go.
        node_timeout_ms: A node that is silent for so long has failed, in milliseconds.
    """

    def __init__(self, base_dir: Path, node_timeout_ms: int = 2_000) -> None:
        self.nodes = [
            PrivateRedis(
                base_dir / f"node-{number}",
                options={
                    **REPLICATING_AT_ONCE,
                    "--cluster-enabled": "yes",
                    "--cluster-port": str(free_ports(1)[0]),
                    "--cluster-node-timeout": str(node_timeout_ms),
                },
            )
            for number in range(NODES)
        ]
        self._started = ExitStack()

    @property
    def url(self) -> str:
        """What `REDIS_URL` is set to: two nodes, of which the worker learns the others."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    @property
    def masters(self) -> list[PrivateRedis]:
        """The nodes that take themselves for masters; none is away."""
        return _masters(self.nodes)

    def lose_master(self) -> PrivateRedis:
        """Kill a master and wait until its replica takes over; returns the one that is away."""
        old = self.masters[0]
        others = [node for node in self.nodes if node is not old]
        old.kill()
        wait_until(lambda: len(_masters(others)) == NODES // 2, "a replica takes over")
        return old

    def fail_over(self) -> None:
        """Let a replica take over from a master that goes on, as an operator does it."""
        replica = next(node for node in self.nodes if replicated(node.port))
        cli(replica.port, "cluster", "failover")
        wait_until(lambda: replica in self.masters, "a replica takes over")

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for node in self.nodes:
                starting.enter_context(node)
            addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
            cli(self.nodes[0].port, "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes")
            wait_until(self.whole, "all nodes know a whole cluster")
            self._started = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def whole(self) -> bool:
        """Whether nobody is away, and every replica follows."""
        replicas = [node for node in self.nodes if replicated(node.port)]
        states = [cli(node.port, "cluster", "info") for node in self.nodes]
        return len(replicas) == NODES // 2 and all("cluster_state:ok" in state for state in states)


def _masters(nodes: Sequence[PrivateRedis]) -> list[PrivateRedis]:
    return [node for node in nodes if "role:master" in cli(node.port, "info", "replication")]


def replicated(port: int, password: str = "") -> bool:
    """Whether it is a replica that has what its master has."""
    return "master_link_status:up" in cli(port, "info", "replication", password=password)


def cli(port: int, *words: str, password: str = "") -> str:
    """Run `redis-cli` and return what it printed."""
    command: Sequence[str] = ["redis-cli", "-p", str(port), *words]
    environment = {**os.environ, **({"REDISCLI_AUTH": password} if password else {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=READY_SECONDS, check=False)
    if done.returncode != 0:
        raise ServerError(f"redis-cli {' '.join(words)} failed: {done.stderr or done.stdout}")
    return done.stdout


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait until this is true."""
    end = time.monotonic() + READY_SECONDS
    while not true():
        if time.monotonic() > end:
            raise ServerError(f"not within {READY_SECONDS} s: {what}")
        time.sleep(POLL_SECONDS)
