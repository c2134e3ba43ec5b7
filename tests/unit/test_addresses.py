"""The addresses of RabbitMQ: which a setting names, and in which order they are tried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from stream.broker.addresses import Addresses, AnyAddress, each_url
from stream.operations.exits import CommandFailed
from stream.operations.rabbitmq_link import rabbitmq_connection

LOGIN = "amqp://u:p,w@"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{LOGIN}a/%2Fw", [f"{LOGIN}a/%2Fw"]),
        (f"{LOGIN}a:1,b:2/%2Fw?name=x,y", [f"{LOGIN}a:1/%2Fw?name=x,y", f"{LOGIN}b:2/%2Fw?name=x,y"]),
        (f"{LOGIN}a/%2Fw, {LOGIN}b/%2Fw", [f"{LOGIN}a/%2Fw", f"{LOGIN}b/%2Fw"]),
        ("amqps://[::1]:5671,b", ["amqps://[::1]:5671", "amqps://b"]),
    ],
)
def test_a_setting_names_one_address_or_several(value: str, expected: list[str]) -> None:
    assert each_url(value) == expected


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[list[int]]:
    """Ports that take a connection and close it, as a RabbitMQ that is about to stop does."""
    async with AsyncExitStack() as stack:
        servers = [await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) for _ in range(count)]
        for server in servers:
            await stack.enter_async_context(server)
        yield [server.sockets[0].getsockname()[1] for server in servers]


def addresses(ports: Sequence[int], *orders: Sequence[int]) -> Addresses:
    """They are shuffled into these orders."""
    next_order = iter(orders).__next__

    def shuffle(urls: Sequence[URL]) -> list[URL]:
        return [urls[position] for position in next_order()]

    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return Addresses(f"amqp://u:p@{hosts}/%2Fw", in_random_order=shuffle)


async def test_every_address_is_tried_before_one_is_tried_again_and_none_twice_in_a_row() -> None:
    async with nodes(3) as ports:
        where, tried = addresses(ports, (0, 1, 2), (2, 1, 0), (1, 0, 2)), list[int]()
        for _ in range(9):
            _, writer = await where.create(where.url)
            tried.append(ports.index(writer.get_extra_info("peername")[1]))
            writer.close()
    assert tried == [0, 1, 2, 1, 0, 2, 1, 0, 2]


async def test_home_is_tried_out_of_turn_once_and_the_round_goes_on() -> None:
    async with nodes(3) as ports:
        where, tried = addresses(ports, (1, 2, 0), (0, 2, 1)), list[int]()
        where.home = where.url.with_port(ports[1])
        for number in range(5):
            if number == 2:
                where.try_home_next()
            _, writer = await where.create(where.url)
            tried.append(ports.index(writer.get_extra_info("peername")[1]))
            assert where.away == (tried[-1] != 1)
            writer.close()
    assert tried == [1, 2, 1, 0, 2]


async def test_a_connection_that_breaks_while_it_opens_is_opened_to_the_next_address() -> None:
    async with nodes(2) as ports:
        where = addresses(ports, (1, 0), (1, 0))
        for port in (ports[1], ports[0], ports[1]):
            connection = AnyAddress(where.url, addresses=where)
            with pytest.raises(AMQPConnectionError):
                await connection.connect(timeout=5)
            assert (str(where), str(connection)) == (f"127.0.0.1:{port}",) * 2


async def test_a_command_tries_every_address_before_it_gives_up() -> None:
    met = set[int]()

    def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.add(writer.get_extra_info("sockname")[1])
        writer.close()

    servers = [await asyncio.start_server(note, "127.0.0.1", 0) for _ in range(3)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    with pytest.raises(CommandFailed, match="RabbitMQ cannot be reached"):
        async with rabbitmq_connection(",".join(f"amqp://127.0.0.1:{port}/%2Fw" for port in ports)):
            pass
    for server in servers:
        server.close()
    assert met == set(ports)
