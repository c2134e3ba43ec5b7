"""Start and stop the worker in the order that keeps messages safe: start, consume, stop consuming, finish, close."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import structlog
from aiormq.exceptions import ChannelAccessRefused
from faststream import FastStream
from faststream.rabbit import RabbitBroker

from stream import __version__
from stream.broker.connection import BrokerConnection
from stream.broker.express import ExpressLane
from stream.broker.sorting import Sorting
from stream.broker.start import CannotStart
from stream.delivery.admission import Admission
from stream.delivery.inflight import InFlight
from stream.meta.transport import HonestTransport
from stream.meta.versions import NEWEST, ends_soon
from stream.observe import tracing
from stream.observe.health import HealthServer
from stream.observe.logging import configure_logging
from stream.observe.status import PROBE_TIMEOUT_S, reachable
from stream.redis.link import RedisLink
from stream.settings import Settings
from stream.traffic.platform import PlatformCircuit

COLLECT_AFTER: Final = 10_000  # new objects; Python's default, 700, is reached in a few messages; few are in cycles

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What was built and must be started and stopped.

    Attributes:
        subscribe_to_lanes: Adds the subscribers of the lanes, once these are declared and known.
        bound_s: How long a try may take, in seconds.
    """

    broker: RabbitBroker
    connection: BrokerConnection
    express: ExpressLane
    subscribe_to_lanes: Callable[[], None]
    admission: Admission
    sorting: Sorting
    in_flight: InFlight
    health: HealthServer
    redis: RedisLink
    platform: PlatformCircuit
    graph_http: HonestTransport
    tenant_http: httpx.AsyncClient
    bound_s: float


class Lifecycle:
    """What FastStream calls while the worker starts, runs and stops.

    Args:
        worker: The parts of the worker.
        settings: The environment.
    """

    def __init__(self, worker: Worker, settings: Settings) -> None:
        self._worker = worker
        self._settings = settings
        self._cannot_go_on: list[str] = []

    @asynccontextmanager
    async def around(self, **_: Any) -> AsyncIterator[None]:
        """From before the start until after the stop.

        Raises:
            SystemExit: With the sentence that tells an operator why the worker could not go on.
        """
        configure_logging(self._settings.log_level, wamids=self._settings.log_wamid)
        self._announce(await self._listen())
        watchers = self._watch()
        try:
            yield
        except ChannelAccessRefused as error:
            # The topology is declared already: FastStream's start can only be refused the consumer.
            self._cannot_go_on.append(
                f"RabbitMQ does not let the user of RABBITMQ_URL consume: grant the right ({error})"
            )
        finally:
            for watcher in watchers:
                watcher.cancel()
            await self._close()
        if self._cannot_go_on:
            raise SystemExit(self._cannot_go_on[0])

    async def open(self, app: FastStream) -> None:
        """Before FastStream's own start: connect, and declare."""
        try:
            await self._worker.connection.open()
            self._worker.subscribe_to_lanes()
        except CannotStart as error:
            self._cannot_go_on.append(str(error))
            app.exit()
            # FastStream's loop sees the exit and stops; until then, its own start must not continue.
            await asyncio.Event().wait()

    async def started(self) -> None:
        """Messages are tried from now on. Existing objects stay: the garbage collector need not check them again."""
        await self._worker.connection.watch_consumers()
        self._worker.admission.open()
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        log.info("consuming", rabbitmq=self._worker.connection.address)

    async def drain(self) -> None:
        """Before FastStream's own stop: consume nothing more, and finish what is in flight."""
        worker = self._worker
        await worker.connection.stop_deliveries()
        await worker.sorting.stop()
        worker.admission.close()
        drained = await worker.in_flight.drain(self._settings.shutdown_grace_ms / 1000)
        await worker.express.flush()
        await worker.connection.close()
        log.info("stopped", finished=drained.finished, returned=drained.returned, unknown=drained.unknown)
        if drained.unknown:
            self._cannot_go_on.append(
                f"{drained.unknown} tries were cut off after SHUTDOWN_GRACE_MS; the ledger knows which had sent"
            )

    async def _finish(self) -> None:
        """Finish what is in flight, before the worker changes to another connection."""
        await self._worker.sorting.rest()
        await self._worker.in_flight.settle(self._settings.shutdown_grace_ms / 1000)
        await self._worker.express.flush()

    def _watch(self) -> list[asyncio.Task[None]]:
        """Start the tasks that run beside the worker; the start does not wait for them."""
        worker = self._worker
        watchers = [
            worker.in_flight.watch(limit_s=worker.bound_s / 2),
            worker.redis.watch(),
            worker.platform.watch(),
            worker.connection.watch_topology(),
            worker.connection.watch_home(self._finish),
            self._look_for_tenant_service(),
        ]
        if not tracing.tracing():  # a trace begins in FastStream's handler, which sorting passes by
            watchers.append(worker.sorting.watch())
        return [asyncio.create_task(each) for each in watchers]

    async def _close(self) -> None:
        worker = self._worker
        await worker.health.stop()
        await worker.graph_http.aclose()
        await worker.tenant_http.aclose()
        await worker.redis.aclose()
        await tracing.stop()

    async def _listen(self) -> int:
        """Open the HTTP port. It comes first: a second worker on this machine must fail before it consumes."""
        settings = self._settings
        try:
            return await self._worker.health.start()
        except OSError as error:
            reason = str(error.strerror).rsplit(": ", 1)[-1]  # asyncio puts the address in front of it
            raise SystemExit(
                f"HTTP_PORT: cannot listen on {settings.http_host}:{settings.http_port} ({reason}): stop what uses it, "
                "or set another HTTP_PORT or HTTP_HOST"
            ) from None

    async def _look_for_tenant_service(self) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await reachable(self._settings.tenant_service_url)
        except (OSError, TimeoutError) as error:
            log.warning(
                "tenant_service_not_there_yet",
                error=type(error).__name__,
                consequence="messages of tenants whose credentials are not cached wait",
                fix="correct TENANT_SERVICE_URL, if it is not about to start",
            )

    def _announce(self, port: int) -> None:
        settings = self._settings
        log.info("starting", version=__version__, httpPort=port, prefetch=settings.rabbitmq_prefetch)
        if not settings.credential_cache_keys:
            log.warning("credentials_not_encrypted", fix="set CREDENTIAL_CACHE_KEYS to encrypt them in Redis")
        if ends := ends_soon(settings.meta_api_version, datetime.now(UTC).date()):
            log.warning("api_version_ends", on=f"{ends:%d %B %Y}", fix=f"set META_API_VERSION, e.g. to {NEWEST}")
