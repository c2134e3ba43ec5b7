"""What both simulators share: an HTTP server on a free port that can be stopped, started again and asked over HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable

# Idle connections are closed at once; only a handler that is still sleeping is waited for, and not for long.
SHUTDOWN_SECONDS = 0.5


class SimulatedServer(ABC):
    """An HTTP server of the stand-in world, with `/_sandbox/...` endpoints to inspect it from another process."""

    def __init__(self) -> None:
        self._runner: web.AppRunner | None = None
        self._address = ("127.0.0.1", 0)

    @abstractmethod
    def routes(self) -> Iterable[web.RouteDef]:
        """What it serves, without the endpoints that every simulator has."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What has happened so far, in numbers."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything that happened and everything that was asked for."""

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        host, port = self._address
        return f"http://{host}:{port}"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; after a stop, port 0 means the port it had before, so that its clients find it again."""
        app = web.Application()
        app.add_routes([*self.routes(), *self._common_routes()])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port or self._address[1]).start()
        self._address = (host, self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close every connection and stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _common_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sandbox/health", self._get_health),
            web.get("/_sandbox/summary", self._get_summary),
            web.post("/_sandbox/reset", self._post_reset),
        ]

    async def _get_health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _get_summary(self, _: web.Request) -> web.Response:
        return web.json_response(self.summary())

    async def _post_reset(self, _: web.Request) -> web.Response:
        self.reset()
        return web.json_response({"reset": True})


def reset_connection(request: web.Request) -> web.Response:
    """Reset the connection (RST, not FIN), so that the caller sees an error and never an answer."""
    transport = request.transport
    if transport is not None:
        # A duplicate of the descriptor, because some event loops hand out a socket without options.
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def cut_in_half(request: web.Request, body: bytes) -> web.StreamResponse:
    """Answer with the headers and half of the body, then hang up."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    await asyncio.sleep(0)  # send the first half before the connection is closed
    if request.transport is not None:
        request.transport.close()
    return response
