"""Shows that httpcore looks for `sniffio` in each request, and what that costs: `python fault.py`."""

from __future__ import annotations

import asyncio
import sys
import time
from types import ModuleType

import httpcore

REQUESTS = 1_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Looks:
    """Counts how often an import of `sniffio` has to look through the whole path."""

    def __init__(self) -> None:
        self.count = 0

    def find_spec(self, name: str, *_: object) -> None:
        self.count += name == "sniffio"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readline():
        while await reader.readline() != b"\r\n":
            pass
        writer.write(ANSWER)
    writer.close()


async def requests(url: str) -> float:
    """CPU time a request, of client and server together, in milliseconds."""
    async with httpcore.AsyncConnectionPool() as pool:
        for _ in range(REQUESTS):
            await pool.request("GET", url)  # the interpreter has specialised the code then
        before = time.process_time()
        for _ in range(REQUESTS):
            await pool.request("GET", url)
        return (time.process_time() - before) * 1000 / REQUESTS


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    looks = Looks()
    sys.meta_path.insert(0, looks)  # type: ignore[arg-type]
    as_installed = await requests(url)
    print(f"httpcore {httpcore.__version__}: {looks.count / REQUESTS / 2:.1f} looks a request, {as_installed:.3f} ms")
    sniffio = ModuleType("sniffio")
    sniffio.current_async_library = lambda: "asyncio"  # type: ignore[attr-defined]
    sys.modules["sniffio"] = sniffio
    print(f"with a module of that name: {await requests(url):.3f} ms")
    await asyncio.sleep(0.1)  # the server sees that the client has gone


asyncio.run(main())
