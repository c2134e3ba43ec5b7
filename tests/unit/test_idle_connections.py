"""A kept connection is used again only while nothing has come on it unasked."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Self

import pytest

from stream.meta.transport import HonestTransport

FRESH = b'{"messages":[{"id":"wamid.fresh"}]}'
STALE = b'{"messages":[{"id":"wamid.stale"}]}'


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Peer:
    """Answers every request, and says more when a test wants it to."""

    def __init__(self) -> None:
        self.connections: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.connections:
            writer.close()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        while await reader.read(65_536):
            writer.write(answer(FRESH))

    async def say(self, *pieces: bytes) -> None:
        """Send bytes that nobody asked for, and wait until they are over there and read."""
        for piece in pieces:
            self.connections[-1].write(piece)
            await asyncio.sleep(0.02)


async def body_of(transport: HonestTransport, url: str) -> bytes:
    async with asyncio.timeout(2):
        return (await transport.post(url, {}, b"{}")).body


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer() as one:
        yield one


@pytest.fixture
async def transport() -> AsyncIterator[HonestTransport]:
    built = HonestTransport(2)
    yield built
    await built.aclose()


async def test_a_quiet_connection_is_used_again(peer: Peer, transport: HonestTransport) -> None:
    for _ in range(5):
        assert await body_of(transport, peer.url) == FRESH
        await asyncio.sleep(0.02)
    assert len(peer.connections) == 1


@pytest.mark.parametrize(
    "pieces",
    [
        (answer(STALE),),
        (answer(STALE)[:20],),
        (answer(STALE)[:-10],),
        (answer(STALE)[:20], answer(STALE)[20:]),
        (b"\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n",),
        (b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",),
        (b"no HTTP",),
    ],
    ids=repr,
)
async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(
    peer: Peer, transport: HonestTransport, pieces: tuple[bytes, ...]
) -> None:
    await body_of(transport, peer.url)
    await peer.say(*pieces)
    for _ in range(2):
        assert await body_of(transport, peer.url) == FRESH
    assert len(peer.connections) == 2


async def test_what_came_right_behind_an_answer_is_not_taken_for_the_next_one(transport: HonestTransport) -> None:
    class TwoForOne(Peer):
        async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections.append(writer)
            await reader.read(65_536)
            writer.write(answer(FRESH) + answer(STALE))
            await reader.read()

    async with TwoForOne() as peer:
        for _ in range(3):
            assert await body_of(transport, peer.url) == FRESH
        assert len(peer.connections) == 3


@pytest.mark.parametrize("said", [answer(STALE), b""], ids=["an answer", "its end"])
async def test_what_the_loop_has_not_come_to_read_counts_too(said: bytes) -> None:
    transport = HonestTransport(2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        loop = asyncio.get_running_loop()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"

        async def serve_one() -> socket.socket:
            connection, _ = await loop.sock_accept(server)
            await loop.sock_recv(connection, 65_536)
            await loop.sock_sendall(connection, answer(FRESH))
            return connection

        first, _ = await asyncio.gather(serve_one(), body_of(transport, url))
        # From here to the next request the loop does not run: the bytes lie in the kernel.
        if said:
            first.send(said)
        else:
            first.shutdown(socket.SHUT_WR)
        time.sleep(0.02)  # noqa: ASYNC251 - a loop that is busy is the point
        second, body = await asyncio.gather(serve_one(), body_of(transport, url))
        assert body == FRESH
        first.close()
        second.close()
        await transport.aclose()
