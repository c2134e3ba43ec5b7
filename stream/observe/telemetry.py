"""Traces with OpenTelemetry, through FastStream's middleware. Imported only when an OTLP endpoint is set.

A span shows how long something took and how it ended. It holds no content: no payload, phone number, token or URL, no
text of an exception (which may quote one), and nothing that a publisher chose freely, like a correlation id or a
routing key. It does not hold Meta's message id either, whose characters encode the recipient's number.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import structlog
from faststream.opentelemetry.middleware import BaseTelemetryMiddleware
from faststream.rabbit.opentelemetry import RabbitTelemetryMiddleware
from faststream.rabbit.opentelemetry.provider import RabbitTelemetrySettingsProvider
from faststream.rabbit.response import RabbitPublishCommand
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stream import __version__
from stream.contract.delays import DELIVERY_EXCHANGE
from stream.observe import tracing

if TYPE_CHECKING:
    from faststream._internal.context import ContextRepo

SERVICE_NAME: Final = "whatsapp-stream"
STOP_S: Final = 3.0  # for the last export at a stop; an endpoint that does not answer must not hold a stop back

TENANT_ID: Final = "tenant.id"
HTTP_STATUS: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"
SYSTEM: Final = "messaging.system"
DESTINATION: Final = "messaging.destination.name"
BODY_SIZE: Final = "messaging.message.body.size"
REDELIVERED: Final = "messaging.rabbitmq.message.redelivered"

_PROPAGATOR: Final = TraceContextTextMapPropagator()

log = structlog.get_logger(__name__)


class _Span:
    """`tracing.Span` on a span of OpenTelemetry."""

    def __init__(self, real: trace.Span) -> None:
        self._real = real
        self.explained = False

    def answered(self, http_status: int | None, error_type: str | None = None) -> None:
        if http_status is not None:
            self._real.set_attribute(HTTP_STATUS, http_status)
        if error_type is not None:
            self.failed(error_type)

    def failed(self, error_type: str) -> None:
        self.explained = True
        self._real.set_attribute(ERROR_TYPE, error_type)
        self._real.set_status(trace.StatusCode.ERROR)


class Telemetry:
    """The tracer of this process, and where its spans go.

    Args:
        processor: Takes the spans that have ended.
        intake: `INTAKE_QUEUE`.
    """

    def __init__(self, processor: SpanProcessor, intake: str) -> None:
        self._names = _Provider(intake)
        self._provider = TracerProvider(
            resource=Resource.create(
                {
                    "service.name": SERVICE_NAME,
                    "service.version": __version__,
                    "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",  # the ledger's name of a replica
                }
            ),
            # Recorded exceptions are events, and their texts may quote a message: a span keeps none.
            span_limits=SpanLimits(max_events=0),
            shutdown_on_exit=False,  # not bounded in time; `shut_down` is
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(SERVICE_NAME, __version__)

    @classmethod
    def to(cls, endpoint: str, intake: str) -> Telemetry:
        """Export in batches over OTLP/HTTP, from a separate thread.

        Args:
            endpoint: The collector's base URL, e.g. `http://collector:4318`.
            intake: `INTAKE_QUEUE`.
        """
        return cls(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")), intake)

    def middleware(self) -> RabbitTelemetryMiddleware:
        """FastStream's middleware for the broker, limited to what a span may hold."""
        return _Middleware(self._names, tracer_provider=self._provider, meter_provider=NoOpMeterProvider())

    @contextmanager
    def span(self, name: str, tenant_id: str, *, client: bool) -> Iterator[tracing.Span]:
        """A span under the current one."""
        kind = trace.SpanKind.CLIENT if client else trace.SpanKind.INTERNAL
        with self._started(name, kind, {TENANT_ID: tenant_id}) as started:
            yield started

    @contextmanager
    def publishing(self, name: str, headers: dict[str, Any]) -> Iterator[None]:
        """A span around a publish; the published message has the try as its parent."""
        _PROPAGATOR.inject(headers)
        attributes = {SYSTEM: self._names.messaging_system, DESTINATION: name}
        with self._started(f"{name} publish", trace.SpanKind.PRODUCER, attributes):
            yield

    @contextmanager
    def _started(self, name: str, kind: trace.SpanKind, attributes: dict[str, str]) -> Iterator[_Span]:
        """An exception marks a span with its class, never with its text."""
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as real:
            current = _Span(real)
            try:
                yield current
            except BaseException as error:
                if not current.explained:
                    current.failed(type(error).__name__)
                raise

    async def shut_down(self) -> None:
        """Export what has ended, for at most `STOP_S` seconds."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def work() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # too late: the loop is closed
                loop.call_soon_threadsafe(ended.set)

        # A daemon thread: the exit does not wait for it. It would wait for a thread of asyncio's executor.
        threading.Thread(target=work, name="traces-shutdown", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_S):
                await ended.wait()
        except TimeoutError:
            log.warning("traces_lost", reason=f"the OTLP endpoint did not take the last spans within {STOP_S:g} s")


class _Provider(RabbitTelemetrySettingsProvider):
    """The name and content of a span: the names of our own topology, and nothing that a publisher chose."""

    __slots__ = ("_intake",)

    def __init__(self, intake: str) -> None:
        super().__init__()
        self._intake = intake

    def get_consume_attrs_from_message(self, msg: Any) -> dict[str, Any]:
        incoming = msg.raw_message
        return {
            SYSTEM: self.messaging_system,
            DESTINATION: self.get_consume_destination_name(msg),
            BODY_SIZE: len(incoming.body),
            REDELIVERED: bool(incoming.redelivered),
        }

    def get_consume_destination_name(self, msg: Any) -> str:
        incoming = msg.raw_message
        return str(incoming.routing_key).rsplit(".", 1)[-1] if incoming.exchange == DELIVERY_EXCHANGE else self._intake


class _Middleware(RabbitTelemetryMiddleware):
    def __init__(self, names: _Provider, **providers: Any) -> None:
        super().__init__(**providers)
        self._names = names

    def __call__(self, msg: Any, /, *, context: ContextRepo) -> BaseTelemetryMiddleware[RabbitPublishCommand]:
        return _Scopes(
            msg,
            tracer=self._tracer,
            metrics_container=self._metrics,
            settings_provider_factory=lambda _: self._names,
            context=context,
        )


class _Scopes(BaseTelemetryMiddleware[RabbitPublishCommand]):
    """FastStream's scopes, without the headers that would make them fail and the texts that they would record."""

    async def consume_scope(self, call_next: Callable[[Any], Awaitable[Any]], msg: Any) -> Any:
        # FastStream's scope gets only what it needs to read: a header of an unexpected type would raise there, and the
        # message would never be settled. Baggage is not used.
        seen = SimpleNamespace(headers=_context_headers(msg.headers), batch_headers=[], raw_message=msg.raw_message)
        return await _hiding_exceptions(super().consume_scope, lambda _: call_next(msg), seen)


def _context_headers(headers: Any) -> dict[str, str]:
    """The trace context of a message, as far as it is text."""
    names = ("traceparent", "tracestate")
    return {name: headers[name] for name in names if isinstance(headers.get(name), str)}


async def _hiding_exceptions(
    scope: Callable[[Any, Any], Awaitable[Any]], call_next: Callable[[Any], Awaitable[Any]], it: Any
) -> Any:
    """Run a scope around `call_next`, but hide exceptions from it: it would record their text."""
    raised: list[BaseException] = []

    async def catching(arg: Any) -> Any:
        try:
            return await call_next(arg)
        except BaseException as error:  # noqa: BLE001 - a cancellation too; raised again below
            raised.append(error)
            current = trace.get_current_span()
            current.set_attribute(ERROR_TYPE, type(error).__name__)
            current.set_status(trace.StatusCode.ERROR)

    result = await scope(catching, it)
    if raised:
        raise raised[0]
    return result
