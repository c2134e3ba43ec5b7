"""A TCP forwarder in front of a server: a test can change its target, lose answers, and cut a connection at a word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

READ_BYTES = 65_536


class _Connection:
    """One connection through the forwarder.

    Args:
        stops: Whether the connection ends before these bytes of the client reach the server.

    Attributes:
        mute: Its answers are lost: the server gets what is asked, and nothing comes back.
    """

    def __init__(self, stops: Callable[[bytes], bool]) -> None:
        self.mute = False
        self._stops = stops

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        """Carry bytes one way until that way ends, then close the other side."""
        try:
            with suppress(OSError):
                while content := await reader.read(READ_BYTES):
                    if not answers and self._stops(content):
                        break
                    if not (answers and self.mute):
                        writer.write(content)
                        await writer.drain()
        finally:  # also when the loop ends: a network that is taken down tells nobody that its connections have ended
            writer.close()


class Forwarder:
    """Forwards TCP connections to a port of 127.0.0.1; a new `target` is for new connections, like a new DNS entry.

    Args:
        target: The port.
        host: The address of this machine at which it listens.
    """

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        self.target = target
        self._host = host
        self.accepted = 0  # connections so far
        self.cuts = 0  # connections that ended at the word
        self._word = b""
        self._cuts_left = 0
        self._open: set[_Connection] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])

    def lose_answers(self) -> None:
        """Lose every further answer on the connections that are open now, but not on later connections."""
        for connection in self._open:
            connection.mute = True

    def cut_before(self, word: bytes, times: int) -> None:
        """End each of the next connections on which the client sends `word`, before the server gets it."""
        self._word, self._cuts_left = word, times

    def _stops(self, content: bytes) -> bool:
        if not self._cuts_left or self._word not in content:
            return False
        self._cuts_left -= 1
        self.cuts += 1
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(self._stops)
        self._open.add(connection)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(
                connection.carry(reader, server_writer, answers=False),
                connection.carry(server_reader, writer, answers=True),
            )
        except OSError:
            writer.close()
        finally:
            self._open.discard(connection)
