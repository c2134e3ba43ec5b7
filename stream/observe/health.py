"""The HTTP port: whether the process is alive and ready, its metrics, the contract's site, and pages for operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from stream.observe.declared import Arguments
from stream.observe.docs import add_docs

CUT_OFF_S: Final = 1.0  # an answer that is not ready at a stop has so long; aiohttp would wait for a minute


class HealthServer:
    """Serves `/health`, `/health/…`, `/metrics` and `/docs/asyncapi` on `HTTP_HOST`:`HTTP_PORT`.

    Args:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        status: The detailed health: the overall state, and everything known.
        ready: Whether the worker consumes; asked at each request.
        alive: Whether it makes progress; if not, the process should be restarted.
        metrics: Gives the metrics in Prometheus' text format.
        queues: The arguments of queues that the contract at `/docs/asyncapi` shows; other queues show the defaults.
        add_page: Adds the routes of a page for operators.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        status: Callable[[], Awaitable[tuple[str, dict[str, Any]]]],
        ready: Callable[[], bool],
        alive: Callable[[], bool],
        metrics: Callable[[], Awaitable[bytes]],
        queues: Callable[[], Arguments] = dict,
        add_page: Callable[[web.UrlDispatcher], None] = lambda _: None,
    ) -> None:
        self._host = host
        self._port = port
        self._status = status
        self._ready = ready
        self._alive = alive
        self._metrics = metrics
        self._queues = queues
        self._add_page = add_page
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen.

        Returns:
            The port.

        Raises:
            OSError: The port is taken.
        """
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._readiness)
        add_docs(app.router, self._queues)
        self._add_page(app.router)
        app.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CUT_OFF_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _scrape(self, _request: web.Request) -> web.Response:
        return web.Response(body=await self._metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, _request: web.Request) -> web.Response:
        overall, everything = await self._status()
        return web.json_response(everything, status=503 if overall == "unhealthy" else 200)

    async def _live(self, _request: web.Request) -> web.Response:
        alive = self._alive()
        return web.json_response({"status": "alive" if alive else "stuck"}, status=200 if alive else 503)

    async def _readiness(self, _request: web.Request) -> web.Response:
        ready = self._ready()
        return web.json_response({"status": "ready" if ready else "not ready"}, status=200 if ready else 503)
