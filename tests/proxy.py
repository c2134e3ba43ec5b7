"""A small HTTP proxy, and a server that terminates TLS for another."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from yarl import URL


class Proxy:
    """Connects to the target that a client names, by CONNECT or by forwarding.

    Attributes:
        heads: What it was asked, the first lines and headers.
        refusal: Refuse with this status line instead, or hang up if it is empty.
    """

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.refusal: str | None = None

    @property
    def asked(self) -> list[str]:
        """The first lines of what it was asked."""
        return [head.splitlines()[0] for head in self.heads]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            method, target, _ = head.decode().split(" ", 2)
            if self.refusal is not None:
                if self.refusal:
                    writer.write(f"HTTP/1.1 {self.refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            elif method == "CONNECT":
                host, port = target.split(":")
                await join(reader, writer, host, int(port), confirm=b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                url = URL(target)
                assert url.host
                assert url.port
                await join(reader, writer, url.host, url.port, first=head)
        writer.close()


async def join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    port: int,
    *,
    confirm: bytes = b"",
    first: bytes = b"",
) -> None:
    """Carry bytes both ways between a connection and a server, until either ends."""
    far_reader, far_writer = await asyncio.open_connection(host, port)
    writer.write(confirm)
    far_writer.write(first)
    ways = [asyncio.create_task(_carry(reader, far_writer)), asyncio.create_task(_carry(far_reader, writer))]
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in ways:
        way.cancel()
    far_writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()


@asynccontextmanager
async def tls_before(url: str, certificate: Path, key: Path) -> AsyncIterator[str]:
    """A server that terminates TLS and forwards the content to a plain one; gives its URL."""
    plain, context = URL(url), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await join(reader, writer, str(plain.host), int(plain.port or 80))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
