"""Shows that FastStream drops a publish's timeout: `python fault.py amqp://guest:guest@localhost/`.

RabbitMQ is reached through a relay that stops in the middle, as a broker that is short of memory does.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from urllib.parse import urlsplit, urlunsplit

from faststream.rabbit import RabbitBroker

PATIENCE_S = 4.0


class Relay:
    """Hands bytes over in both directions while `open` is set."""

    def __init__(self, host: str, port: int) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._to = host, port
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> int:
        """Returns the port to connect to."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(*self._to)
        for source, sink in ((reader, downstream), (upstream, writer)):
            self._tasks.append(asyncio.create_task(self._copy(source, sink)))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self.open.wait()
            sink.write(data)
        sink.close()


async def main(url: str) -> None:
    parts = urlsplit(url)
    relay = Relay(parts.hostname or "localhost", parts.port or 5672)
    port = await relay.start()
    login = f"{parts.username or 'guest'}:{parts.password or 'guest'}"
    broker = RabbitBroker(urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}")))
    await broker.connect()
    await broker.publish("before", queue="nobody", mandatory=False, timeout=1)
    publisher = broker.publisher("nobody", timeout=1)
    relay.open.clear()
    calls = {
        "broker.publish(…, timeout=1)": broker.publish("now", queue="nobody", mandatory=False, timeout=1),
        "broker.publisher(…, timeout=1).publish(…)": publisher.publish("now", mandatory=False),
    }
    for name, call in calls.items():
        task = asyncio.create_task(call)
        done, _ = await asyncio.wait([task], timeout=PATIENCE_S)
        print(f"  {name}: {task.exception()!r}" if done else f"  {name}: still waits after {PATIENCE_S:g} s")
    relay.open.set()
    await broker.stop()


print("FastStream", version("faststream"))
asyncio.run(main(sys.argv[1]))
