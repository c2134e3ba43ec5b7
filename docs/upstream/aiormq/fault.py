"""Shows that aiormq writes to its socket once for each acknowledgement: `python fault.py amqp://guest:guest@localhost/`."""

from __future__ import annotations

import asyncio
import sys
import time
from importlib.metadata import version

import aiormq
from aiormq.abc import DeliveredMessage

MESSAGES = 20_000
PREFETCH = 200


class Writes:
    """Counts the writes to all sockets."""

    def __init__(self) -> None:
        self.count = 0
        write = asyncio.StreamWriter.write

        def counted(writer: asyncio.StreamWriter, data: bytes) -> None:
            self.count += 1
            write(writer, data)

        asyncio.StreamWriter.write = counted  # type: ignore[method-assign]


async def main(url: str) -> None:
    """Fill a queue, then take and acknowledge all of it."""
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=False)
    queue = (await channel.queue_declare(exclusive=True)).queue or ""
    for _ in range(MESSAGES):
        await channel.basic_publish(b"x" * 400, routing_key=queue)
    left, done = MESSAGES, asyncio.Event()

    async def acknowledge(message: DeliveredMessage) -> None:
        nonlocal left
        await channel.basic_ack(message.delivery_tag or 0)
        left -= 1
        if not left:
            done.set()

    await channel.basic_qos(prefetch_count=PREFETCH)
    writes, before = Writes(), time.process_time()
    await channel.basic_consume(queue, acknowledge)
    await done.wait()
    took = (time.process_time() - before) * 1000 / MESSAGES
    print(f"aiormq {version('aiormq')}: {writes.count / MESSAGES:.2f} writes a message, {took:.3f} ms of CPU")
    await connection.close()


asyncio.run(main(sys.argv[1]))
