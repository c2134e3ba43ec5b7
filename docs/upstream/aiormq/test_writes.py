"""What waits for the writer leaves in one write, in its order, and nothing after the frame that closes."""

from __future__ import annotations

import asyncio

from aiormq.abc import ChannelFrame
from aiormq.connection import Connection


class Socket:
    """What the writer writes to."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    async def drain(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closing = True

    async def wait_closed(self) -> None:
        pass


def test_what_waits_for_the_writer_leaves_in_one_write() -> None:
    async def written() -> tuple[list[bytes], bool]:
        loop = asyncio.get_running_loop()
        connection, socket, drained = Connection("amqp://localhost", loop=loop), Socket(), loop.create_future()
        connection._Connection__connection_unblocked.set()
        connection.write_queue.put_nowait(ChannelFrame(b"first ", should_close=False, drain_future=drained))
        connection.write_queue.put_nowait(ChannelFrame(b"second ", should_close=False))
        connection.write_queue.put_nowait(ChannelFrame(b"close", should_close=True))
        connection.write_queue.put_nowait(ChannelFrame(b" never", should_close=False))
        await connection._Connection__writer(socket)
        return socket.writes, drained.done()

    assert asyncio.run(written()) == ([b"first second close"], True)
