"""What counts as an answer of the address at which a worker began. `tests/chaos/test_cluster.py` has the way there."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
from aio_pika import Connection
from yarl import URL

from stream.broker import home
from stream.broker.topology import Topology


async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize("behaviour", [refuse, be_silent])
async def test_a_node_that_does_not_take_a_connection_is_no_home_to_go_to(
    monkeypatch: pytest.MonkeyPatch, behaviour: Callable[..., Awaitable[None]]
) -> None:
    monkeypatch.setattr(home, "ANSWER_TIMEOUT_S", 0.05)
    async with await asyncio.start_server(behaviour, "127.0.0.1", 0) as server:
        where = URL(f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/%2Fw")
        assert not await home.answers(where, Topology(), None)
        asked = [each for each in gc.get_objects() if isinstance(each, Connection)]
        assert all(each.is_closed for each in asked if each.url.port == where.port)


async def test_a_node_that_is_lost_under_the_question_is_no_home_to_go_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(_: Connection) -> None:
        raise asyncio.CancelledError  # as aiormq does for a call under which its connection dies

    monkeypatch.setattr(Connection, "connect", lost)
    assert not await home.answers(URL("amqp://node/%2Fw"), Topology(), None)


async def test_a_question_that_is_cancelled_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def hang(_: Connection) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Connection, "connect", hang)
    question = asyncio.create_task(home.answers(URL("amqp://node/%2Fw"), Topology(), None))
    await asked.wait()
    question.cancel()
    with pytest.raises(asyncio.CancelledError):
        await question
