"""A RabbitMQ cluster on this machine: each node in a namespace of its own, or all on 127.0.0.1."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from sandbox.network import Network, Place
from sandbox.processes import POLL_SECONDS, ServerError, free_ports
from sandbox.rabbitmq import OK, PrivateRabbitMQ

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NODES = 3
CATCH_UP_S = 30
LIST_S = 15


class ClusterNode(PrivateRabbitMQ):
    """One node of a cluster.

    Args:
        base_dir: Where all its files go.
        place: Where it runs.
        name: Its name in Erlang.
        epmd_port: Where the nodes look for each other; the same for all.
        secret: The password, and what lets the nodes trust each other.
    """

    def __init__(self, base_dir: Path, place: Place, *, name: str, epmd_port: int, secret: str) -> None:
        super().__init__(base_dir, place=place)
        self.name = name
        self.peers: list[ClusterNode] = []
        self.password = self._secret = secret
        self._epmd_port = epmd_port
        # By default it waits for three minutes before it moves a message again that another node's loss held up.
        (self._dir / "advanced.config").write_text(
            "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 10000}]}]."
        )
        cookie = self._dir / ".erlang.cookie"
        cookie.write_text(secret)
        cookie.chmod(0o400)

    @property
    def node(self) -> str:
        """Its name in Erlang."""
        return f"{self.name}@{self.place.peer if self.place.command else 'localhost'}"

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"{self.place.host}:{self.port}"

    @property
    def address_beside_peers(self) -> str:
        """Host and port for clients that are cut off with it."""
        return f"{self.place.peer}:{self.port}"

    def serves(self) -> bool:
        """Whether RabbitMQ runs in it; a node that is paused does not."""
        return self._has_vhost()

    def may_go(self) -> bool:
        """Whether every queue keeps a majority without it."""
        return self._get("/api/health/checks/node-is-quorum-critical") == OK

    def _configuration(self) -> str:
        nodes = (
            f"cluster_formation.classic_config.nodes.{number} = {each.node}\n"
            for number, each in enumerate(self.peers, 1)
        )
        return (
            super()._configuration()
            + f"listeners.tcp.peers = {self.address_beside_peers}\n" * bool(self.place.command)
            + "cluster_formation.peer_discovery_backend = classic_config\n"
            + "".join(nodes)
            + "cluster_partition_handling = pause_minority\n"
            + "queue_leader_locator = balanced\n"
        )

    def _erlang_arguments(self) -> str:
        return f"{super()._erlang_arguments()} -kernel net_ticktime 15"  # a node that is cut off is noticed within 19 s

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"RABBITMQ_USE_LONGNAME": "true" if self.place.command else "false"}


class RabbitMQCluster:
    """Three nodes that know each other. Use as a context manager.

    Args:
        base_dir: Where all its files go.
        network: Where they run; without one, all run on 127.0.0.1.
    """

    def __init__(self, base_dir: Path, network: Network | None = None) -> None:
        secret, (epmd_port,) = secrets.token_hex(12), free_ports(1)
        places = [network.place(number) if network else Place() for number in range(1, NODES + 1)]
        self.nodes = [
            ClusterNode(base_dir / f"node-{number}", place, name=f"rabbit-{number}", epmd_port=epmd_port, secret=secret)
            for number, place in enumerate(places, start=1)
        ]
        for node in self.nodes:
            node.peers = self.nodes

    @property
    def url(self) -> str:
        """`RABBITMQ_URL` with all addresses."""
        return self.url_of(*self.nodes)

    def others(self, node: ClusterNode) -> str:
        """`RABBITMQ_URL` with the addresses of all nodes but one."""
        return self.url_of(*(each for each in self.nodes if each is not node))

    @property
    def url_beside_peers(self) -> str:
        """`RABBITMQ_URL` with all addresses for a client that is cut off with a node, or from all."""
        return self._url(node.address_beside_peers for node in self.nodes)

    def url_of(self, *nodes: ClusterNode) -> str:
        """`RABBITMQ_URL` with the addresses of these nodes."""
        return self._url(node.address for node in nodes)

    def _url(self, hosts: Iterable[str]) -> str:
        any_node = self.nodes[0]  # the login is the same at all
        return f"amqp://{any_node.username}:{any_node.password}@{','.join(hosts)}/%2Fwhatsapp"

    def wait_until_no_node_is_critical(self) -> None:
        """Wait until the loss of any one node would leave every queue a majority."""
        deadline = time.monotonic() + CATCH_UP_S
        while not all(node.may_go() for node in self.nodes):
            if time.monotonic() > deadline:
                raise ServerError(f"a queue has members that are away after {CATCH_UP_S} s")
            time.sleep(POLL_SECONDS)

    def leader(self, queue: str) -> ClusterNode:
        """The node that leads a quorum queue."""
        leaders = dict(row.split("\t") for row in self._queues("name", "leader").splitlines())
        return next(node for node in self.nodes if node.node == leaders[queue])

    def _queues(self, *columns: str) -> str:
        """The table of the first node that has it: one that was away may not answer for a minute."""
        words = ("--vhost", "/whatsapp", "--timeout", f"{LIST_S}", "--no-table-headers")
        errors = []
        for node in self.nodes:
            try:
                return node.ctl("list_queues", *words, *columns)
            except ServerError as error:
                errors.append(str(error))
        raise ServerError("; ".join(errors))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.close)
            with ThreadPoolExecutor(NODES) as pool:
                list(pool.map(ClusterNode.start, self.nodes))
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all at once."""
        for node in self.nodes:
            node.close()
