"""The addresses of RabbitMQ: one, or one for each node of a cluster, tried one after the other in a random order.

aio-pika connects to one URL again and again. But aiormq asks a transport factory, which is public, for the socket of
each connection: `Addresses` is one, and opens each to the next address. Login, vhost and options are the same at all.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from aio_pika import RobustConnection
from aiormq.connection import DEFAULT_PORTS, TCPTransportFactory, TLSTransportFactory, TransportFactory
from faststream.rabbit import RabbitBroker
from yarl import URL

CONNECT_TIMEOUT_S: Final = 5.0  # of one address, with the login; a node answers in milliseconds


def each_url(value: str) -> list[str]:
    """A URL for each address in a value of `RABBITMQ_URL`: URLs with commas between them, or one with several hosts."""
    # A password may hold a comma too: only one before a scheme, or between hosts, ends an address.
    return [url for part in re.split(r"\s*,\s*(?=amqps?://)", value) for url in _for_each_host(part)]


def _for_each_host(url: str) -> list[str]:
    scheme, slashes, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    login, at, hosts = authority.rpartition("@")
    return [f"{scheme}{slashes}{login}{at}{host}{rest[len(authority) :]}" for host in hosts.split(",")]


def shuffled(urls: Sequence[URL]) -> list[URL]:
    """The same in a random order."""
    return random.sample(urls, len(urls))


def _with_port(url: URL) -> URL:
    return url.with_port(url.port or DEFAULT_PORTS[url.scheme])


class Addresses(TransportFactory):
    """Opens each connection to the next address: every one in a random order, then every one in another order.

    So the replicas that lose a node spread over the others, and one that does not answer is not tried twice in a row.

    Args:
        value: `RABBITMQ_URL`, checked.
        in_random_order: Gives the order of a round.
    """

    def __init__(self, value: str, *, in_random_order: Callable[[Sequence[URL]], list[URL]] = shuffled) -> None:
        self._all = [_with_port(URL(url)) for url in each_url(value)]
        self._in_random_order = in_random_order
        self._round = in_random_order(self._all)
        self.url = self.current = self._all[0]  # any of them, and the one that was tried last
        self.home = self.current  # where the worker began, once it has

    @property
    def vhost(self) -> str:
        """The same at all of them."""
        return self.url.path.removeprefix("/") or "/"

    @property
    def away(self) -> bool:
        """Whether the worker had to leave its home."""
        return self.home != self.current

    def try_home_next(self) -> None:
        """Let the next attempt lead home; those after it go on with their round."""
        self._round.insert(0, self.home)

    def __len__(self) -> int:
        return len(self._all)

    def __str__(self) -> str:
        return f"{self.current.host}:{self.current.port}"

    def lead(self, broker: RabbitBroker) -> None:
        """Let a broker that is not connected yet connect to these addresses. FastStream has no public way."""
        broker._connection_kwargs["connection_class"] = partial(AnyAddress, addresses=self)  # noqa: SLF001

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a socket to the next address.

        Args:
            url: That of the connection; only its host and port are not used.
            kwargs: aiormq's.

        Raises:
            AMQPConnectionError: It does not listen.
        """
        self.current = self._next()
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        return await factory.create(url.with_host(str(self.current.host)).with_port(self.current.port), **kwargs)

    def _next(self) -> URL:
        if not self._round:
            self._round = self._in_random_order(self._all)
            if self._round[0] == self.current:
                self._round.append(self._round.pop(0))
        return self._round.pop(0)


class AnyAddress(RobustConnection):
    """A connection of aio-pika's that reconnects to the next address.

    Args:
        url: Any of them.
        addresses: All.
        kwargs: aio-pika's.
    """

    def __init__(self, url: URL, *, addresses: Addresses, **kwargs: Any) -> None:
        super().__init__(url, **kwargs)
        self.kwargs["transport_factory"] = addresses
        self._addresses = addresses

    def __str__(self) -> str:
        return str(self._addresses)  # for aio-pika's log lines
