"""The commands' links to RabbitMQ and Redis: what a lost one becomes, and how long a command tries."""

from __future__ import annotations

import asyncio

import aiormq
import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.operations.exits import CommandFailed, ExitCode
from stream.operations.rabbitmq_link import rabbitmq_connection
from stream.redis import client
from stream.redis.client import Client, connect, connect_patiently


class Connection:
    """A connection to RabbitMQ, open or lost."""

    def __init__(self) -> None:
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    made = Connection()

    async def opened(_url: object, **_: object) -> Connection:
        return made

    monkeypatch.setattr(aiormq, "connect", opened)
    return made


async def fail(error: BaseException, connection: Connection, *, lost: bool) -> None:
    async with rabbitmq_connection():
        connection.is_closed = lost
        raise error


@pytest.mark.parametrize("error", [Exception(), RuntimeError("closed"), EOFError(), asyncio.CancelledError()], ids=repr)
async def test_whatever_aiormq_raises_over_a_lost_connection_is_one_sentence(
    connection: Connection, error: BaseException
) -> None:
    with pytest.raises(CommandFailed, match="RabbitMQ cannot be reached: the connection was lost") as failed:
        await fail(error, connection, lost=True)
    assert failed.value.code is ExitCode.UNREACHABLE


async def test_an_error_of_our_own_is_not_taken_for_a_lost_connection(connection: Connection) -> None:
    with pytest.raises(RuntimeError, match="a mistake"):
        await fail(RuntimeError("a mistake"), connection, lost=False)
    connection.is_closed = False
    with pytest.raises(KeyError):
        await fail(KeyError(), connection, lost=True)


async def test_a_command_that_is_cancelled_is_cancelled_also_if_its_connection_was_lost(connection: Connection) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with rabbitmq_connection():
            connection.is_closed = True
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_command_queues_all_frames_as_a_worker_does(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiormq.Connection, "FRAME_BUFFER_SIZE", 10)  # aiormq's own
    async with rabbitmq_connection():
        assert not connection.is_closed
    assert aiormq.Connection.FRAME_BUFFER_SIZE == 0


class Silent:
    """A server that answers the first commands with nothing.

    Args:
        times: How many.
    """

    def __init__(self, times: int) -> None:
        self.asked = 0
        self._times = times

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while commands := await reader.read(1_000):
            pings = commands.count(b"PING")
            self.asked += pings
            answers = commands.count(b"*") - (0 if self.asked > self._times else pings)
            writer.write(b"+OK\r\n" * answers)
        writer.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 0.05)


async def pinged(redis: Client) -> bool:
    try:
        await redis.ping()
    except RedisTimeoutError:
        return False
    else:
        return True
    finally:
        await redis.aclose()


@pytest.mark.parametrize(("silent", "answered"), [(1, True), (client.TRIES - 1, True), (client.TRIES, False)])
async def test_a_command_asks_redis_again_and_not_for_ever(silent: int, *, answered: bool) -> None:
    server = Silent(silent)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        assert await pinged(connect_patiently(url)) is answered
        assert server.asked == min(silent + 1, client.TRIES)


async def test_the_worker_asks_once() -> None:
    server = Silent(1)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        assert not await pinged(connect(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"))
