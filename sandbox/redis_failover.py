"""Redis that survives the loss of a server: a master with two replicas and three Sentinels, and a Redis Cluster."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from sandbox.network import HERE, Network, Place
from sandbox.processes import PrivateServer, answers, free_ports
from sandbox.redis import START_SECONDS, PrivateRedis, tls_options
from sandbox.redis_cli import cli, replicated, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sandbox.certificates import ServerCertificate

MASTER = "mymaster"
SERVERS = 3  # a Sentinel beside each
DOWN_AFTER_MS = 1_000  # a server that is silent for so long is down
NODES = 6  # three masters, and a replica of each
NODE_TIMEOUT_MS = 2_000  # a node of a cluster that is silent for so long has failed
REPLICATING_AT_ONCE = {"--repl-diskless-sync-delay": "0"}  # else it waits 5 s for more replicas


class Sentinel(PrivateServer):
    """A Sentinel; it writes what it learns into its file.

    Args:
        base_dir: Where all its files go.
        master: Host and port of the master, at first.
        password: For the servers.
        own_password: For itself.
        place: Where it runs.
        certificate: With one it listens on a port with TLS too, and reaches the master with TLS.
    """

    def __init__(
        self,
        base_dir: Path,
        master: tuple[str, int],
        password: str,
        own_password: str,
        *,
        place: Place = HERE,
        certificate: ServerCertificate | None = None,
    ) -> None:
        super().__init__("Sentinel", base_dir)
        self.place = place
        self.port, self.tls_port = free_ports(2)
        tls = tls_options(certificate, self.tls_port) | {"tls-replication": "yes"} if certificate else {}
        self._own_password = own_password
        self._file = self._dir / "sentinel.conf"
        self._file.write_text(
            f"bind {place.own}\nsentinel announce-ip {place.own}\nport {self.port}\ndir {self._dir}\n"
            f"requirepass {own_password}\n"
            f"sentinel sentinel-pass {own_password}\n"
            f"sentinel monitor {MASTER} {master[0]} {master[1]} 2\nsentinel auth-pass {MASTER} {password}\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\nsentinel failover-timeout {MASTER} 5000\n"
            + "".join(f"{name} {value}\n" for name, value in tls.items())
        )

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"{self.place.own}:{self.port}"

    def ask(self, *words: str) -> str:
        """Ask it, in the words of `redis-cli`."""
        return cli(self.port, *words, password=self._own_password, host=self.place.own)

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [*self.place.command, "redis-server", str(self._file), "--sentinel"]
        login = f"AUTH {self._own_password}\r\n".encode()
        self._process.start(
            command, os.environ, lambda: answers(self.port, login, b"+OK", self.place.own), START_SECONDS
        )


class SentinelRedis:
    """Three servers, of which one is the master, and three Sentinels.

    Args:
        base_dir: Where all files go.
        network: Where they run, a server and a Sentinel in each place; without one, all run on 127.0.0.1.
        options: More options of the servers.
    """

    def __init__(
        self, base_dir: Path, network: Network | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        self.password, self.sentinel_password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
        self._options = {**REPLICATING_AT_ONCE, **(options or {})}
        self.servers: list[PrivateRedis] = []
        self.sentinels: list[Sentinel] = []
        for number in range(1, SERVERS + 1):
            self._add(base_dir / f"{number}", network.place(number) if network else HERE)
        self._started = ExitStack()

    def _add(self, folder: Path, place: Place) -> None:
        options = {**self._options, "--replica-announce-ip": place.own}
        if self.servers:
            options["--replicaof"] = "{} {}".format(*self._first)
        self.servers.append(PrivateRedis(folder / "server", password=self.password, place=place, options=options))
        self.sentinels.append(
            Sentinel(folder / "sentinel", self._first, self.password, self.sentinel_password, place=place)
        )

    @property
    def _first(self) -> tuple[str, int]:
        return self.servers[0].place.own, self.servers[0].port

    @property
    def url(self) -> str:
        """What `REDIS_URL` is set to."""
        return self.url_of(*self.sentinels)

    def url_of(self, *sentinels: Sentinel) -> str:
        """`REDIS_URL` with these Sentinels."""
        hosts = ",".join(sentinel.address for sentinel in sentinels)
        return f"redis+sentinel://:{self.password}@{hosts}/{MASTER}/0?sentinel_password={self.sentinel_password}"

    def ask(self, *words: str) -> str:
        """Ask a Sentinel, in the words of `redis-cli`."""
        return self.sentinels[0].ask(*words)

    @property
    def master(self) -> PrivateRedis:
        """The server that the Sentinels take for the master."""
        host, port = self.ask("sentinel", "get-master-addr-by-name", MASTER).split()
        return next(each for each in self.servers if (each.place.own, str(each.port)) == (host, port))

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
            wait_until(self.whole, "each Sentinel knows the others and the replicas, which have what their master has")
            self._started = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def whole(self) -> bool:
        """Whether nobody is away, and the replicas follow."""
        wanted = {"num-slaves": str(SERVERS - 1), "num-other-sentinels": str(SERVERS - 1)}
        for sentinel in self.sentinels:
            facts = sentinel.ask("sentinel", "master", MASTER).split()
            if any(facts[facts.index(name) + 1] != value for name, value in wanted.items()):
                return False
        return sum(replicated(server, self.password) for server in self.servers) == SERVERS - 1


class ClusteredRedis:
    """Three masters, each with a replica.

    Args:
        base_dir: Where all files go.
        network: Where they run, a master and the replica of another one in each place; without one, on 127.0.0.1.
    """

    def __init__(self, base_dir: Path, network: Network | None = None) -> None:
        places = [network.place(number) if network else HERE for number in range(1, NODES // 2 + 1)]
        self.nodes = [_node(base_dir / f"node-{number}", place) for number, place in enumerate(places * 2)]
        self._started = ExitStack()

    @property
    def url(self) -> str:
        """What `REDIS_URL` is set to: two nodes, of which the worker learns the others."""
        return "redis+cluster://" + ",".join(_address(node) for node in self.nodes[:2])

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
        replica = next(node for node in self.nodes if replicated(node))
        _ask(replica, "cluster", "failover")
        wait_until(lambda: replica in self.masters, "a replica takes over")

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            for node in self.nodes:
                starting.enter_context(node)
            addresses = map(_address, self.nodes)
            _ask(self.nodes[0], "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes")
            wait_until(self.whole, "all nodes know a whole cluster")
            self._started = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def whole(self) -> bool:
        """Whether nobody is away, and every replica follows."""
        states = [_ask(node, "cluster", "info") for node in self.nodes]
        return sum(map(replicated, self.nodes)) == NODES // 2 and all("cluster_state:ok" in state for state in states)


def _node(folder: Path, place: Place) -> PrivateRedis:
    options = {
        **REPLICATING_AT_ONCE,
        "--cluster-enabled": "yes",
        "--cluster-port": str(free_ports(1)[0]),
        "--cluster-announce-ip": place.own,
        "--protected-mode": "no",  # a place is reached from this machine only
        "--cluster-node-timeout": str(NODE_TIMEOUT_MS),
    }
    return PrivateRedis(folder, place=place, options=options)


def _ask(node: PrivateRedis, *words: str) -> str:
    return cli(node.port, *words, host=node.place.own)


def _address(node: PrivateRedis) -> str:
    return f"{node.place.own}:{node.port}"


def _masters(nodes: Sequence[PrivateRedis]) -> list[PrivateRedis]:
    return [node for node in nodes if "role:master" in _ask(node, "info", "replication")]


KINDS = {"sentinel": SentinelRedis, "cluster": ClusteredRedis}
