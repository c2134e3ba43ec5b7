from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from stream import __version__
from stream.app import traces
from stream.contract.queues import INTAKE_QUEUE
from stream.observe import telemetry, tracing
from stream.observe.telemetry import Telemetry
from stream.tenants.credentials import TenantNotFound
from tests.unit.doubles import incoming
from tests.unit.processing import BUSY, FORBIDDEN, OK, World

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID, PARENT_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
UNSAMPLED = PARENT.removesuffix("1") + "0"


class Traced:
    """A process that traces into memory, and FastStream's part of it."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        telemetry = Telemetry(SimpleSpanProcessor(self.exporter), INTAKE_QUEUE)
        tracing.start(telemetry)
        self.middleware: Any = telemetry.middleware()

    def names(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]

    def only(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return found

    def _scopes(self, msg: Any) -> Any:
        context = SimpleNamespace(get_local=lambda _: None, scope=_scope)
        return self.middleware(msg, context=context)

    async def consume(self, work: Any, **properties: Any) -> Any:
        """What FastStream does with a message that came in."""
        raw = incoming(**properties)
        msg = SimpleNamespace(
            raw_message=raw,
            headers=raw.headers,
            body=raw.body,
            message_id="m-1",
            correlation_id="c-1",
            batch_headers=[],
        )

        async def handler(given: Any) -> Any:
            assert given is msg
            return await work()

        async with self._scopes(raw) as scopes:
            return await scopes.consume_scope(handler, msg)


class _scope:  # noqa: N801 - stands in for a function
    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    yield Traced()
    await tracing.stop()


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


async def test_without_an_endpoint_there_is_no_middleware_and_one_span_for_all() -> None:
    assert traces("", INTAKE_QUEUE) == ()
    one, other = tracing.span("claim", "acme"), tracing.span("send", "other", client=True)
    assert one is other
    with one as span, one as nested:
        span.answered(200)
        nested.answered(None, "NETWORK_ERROR")
    await tracing.stop()


async def test_a_try_is_a_claim_credentials_and_a_send(traced: Traced) -> None:
    await World(OK).process()
    assert traced.names() == ["claim", "credentials", "claim", "send"]
    send = traced.only("send")
    assert send.kind is SpanKind.CLIENT
    assert about(send) == {"tenant.id": "acme", "http.response.status_code": 200}
    assert send.status.status_code is StatusCode.UNSET
    assert about(traced.only("credentials")) == {"tenant.id": "acme"}


async def test_a_refusal_marks_the_send_with_status_and_error_type(traced: Traced) -> None:
    await World(BUSY).process()
    send = traced.only("send")
    assert about(send) == {
        "tenant.id": "acme",
        "http.response.status_code": 503,
        "error.type": "META_SERVER_ERROR",
    }
    assert (send.status.status_code, send.status.description) == (StatusCode.ERROR, None)


async def test_a_resend_with_fresh_credentials_is_a_second_send(traced: Traced) -> None:
    await World(FORBIDDEN, OK).process()
    sends = [span for span in traced.exporter.get_finished_spans() if span.name == "send"]
    assert [about(span)["http.response.status_code"] for span in sends] == [403, 200]


async def test_credentials_that_cannot_be_had_mark_their_span_without_a_text(traced: Traced) -> None:
    await World(error=TenantNotFound("no tenant +16505551234")).process()
    span = traced.only("credentials")
    assert about(span) == {"tenant.id": "acme", "error.type": "TenantNotFound"}
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())


async def test_the_process_span_hangs_under_the_publishers_and_holds_the_parts(traced: Traced) -> None:
    outcome = await traced.consume(World(OK).process, headers={"traceparent": PARENT})
    assert outcome.sends == 1
    process = traced.only("outbound-processed process")
    assert process.parent is not None
    assert (process.parent.trace_id, process.parent.span_id) == (TRACE_ID, PARENT_ID)
    assert about(process) == {
        "messaging.system": "rabbitmq",
        "messaging.operation": "process",
        "messaging.destination.name": "outbound-processed",
        "messaging.message.body.size": 2,
        "messaging.rabbitmq.message.redelivered": False,
    }
    send = traced.only("send")
    assert send.parent is not None
    assert (send.parent.trace_id, send.parent.span_id) == ids(process)


@pytest.mark.parametrize(
    ("exchange", "routing_key", "queue"),
    [
        ("whatsapp-exchange", "outbound.processed.whatsapp-lane-3", INTAKE_QUEUE),
        ("whatsapp-delay-delivery", "0.1.outbound-a", "outbound-a"),
        ("whatsapp-delay-delivery", "whatsapp-lane-3", "whatsapp-lane-3"),
    ],
)
async def test_a_process_span_is_named_after_the_queue_and_not_by_a_publisher(
    traced: Traced, exchange: str, routing_key: str, queue: str
) -> None:
    await traced.consume(World(OK).process, exchange=exchange, routing_key=routing_key)
    assert traced.names()[-1] == f"{queue} process"


async def test_the_resource_names_the_service_its_version_and_the_replica(traced: Traced) -> None:
    await World(OK).process()
    resource = traced.only("send").resource.attributes
    assert (resource["service.name"], resource["service.version"]) == ("whatsapp-stream", __version__)
    assert ":" in str(resource["service.instance.id"])


def assert_under_the_try(traced: Traced, name: str, traceparent: str) -> ReadableSpan:
    """The publish's span hangs under the try's, and the message names that one as its parent."""
    process, publish = traced.only("outbound-processed process"), traced.only(name)
    trace_id, span_id = ids(process)
    version, in_trace, parent, _ = traceparent.split("-")
    assert (version, int(in_trace, 16), int(parent, 16)) == ("00", trace_id, span_id)
    assert publish.parent is not None
    assert publish.parent.span_id == span_id
    assert publish.kind is SpanKind.PRODUCER
    return publish


async def test_what_is_published_names_the_span_of_the_try(traced: Traced) -> None:
    headers: dict[str, Any] = {}

    async def announce() -> None:
        with tracing.publishing("outbound.sent", headers):
            pass

    await traced.consume(announce, headers={"traceparent": PARENT, "tracestate": "upstream=yes"})
    publish = assert_under_the_try(traced, "outbound.sent publish", headers["traceparent"])
    assert headers["tracestate"] == "upstream=yes"
    assert about(publish) == {"messaging.system": "rabbitmq", "messaging.destination.name": "outbound.sent"}


async def test_a_publish_that_fails_marks_its_span_without_a_text(traced: Traced) -> None:
    with pytest.raises(OSError, match="about"), tracing.publishing("outbound.sent", {}):
        raise OSError("about +16505551234")
    span = traced.only("outbound.sent publish")
    assert about(span)["error.type"] == "OSError"
    assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())


async def test_without_traces_nothing_published_carries_no_context() -> None:
    headers: dict[str, Any] = {}
    with tracing.publishing("outbound.sent", headers):
        pass
    assert (headers, tracing.tracing()) == ({}, False)


async def test_a_trace_that_upstream_does_not_sample_is_passed_on_and_not_exported(traced: Traced) -> None:
    published: dict[str, Any] = {}

    async def publish() -> None:
        with tracing.publishing("whatsapp-dlx", published):
            pass

    await traced.consume(publish, headers={"traceparent": UNSAMPLED, "tracestate": "upstream=no"})
    assert traced.names() == []
    assert published["traceparent"].startswith(UNSAMPLED[:36])
    assert published["traceparent"].endswith("-00")
    assert published["tracestate"] == "upstream=no"


@pytest.mark.parametrize("kind", [OSError, asyncio.CancelledError])
async def test_an_exception_passes_through_the_spans_and_leaves_no_text(
    traced: Traced, kind: type[BaseException]
) -> None:
    async def work() -> None:
        trace.get_current_span().add_event("a library notes +16505551234")
        with tracing.publishing("whatsapp-dlx", {}):
            raise kind("about +16505551234")

    with pytest.raises(kind, match="about"):
        await traced.consume(work)
    for name in ("whatsapp-dlx publish", "outbound-processed process"):
        span = traced.only(name)
        assert about(span)["error.type"] == kind.__name__
        assert (span.status.status_code, span.status.description, span.events) == (StatusCode.ERROR, None, ())


@pytest.mark.parametrize("value", [7, bytearray(b"\xff"), [1], {"a": 1}, None, True, "", "x" * 100_000])
async def test_a_context_header_of_any_kind_is_harmless(traced: Traced, value: object) -> None:
    names = ("traceparent", "tracestate", "baggage")
    assert await traced.consume(World(OK).process, headers=dict.fromkeys(names, value))
    assert traced.names()[-1] == "outbound-processed process"
    assert await traced.consume(World(OK).process, headers={"traceparent": PARENT, "tracestate": value})


async def test_a_stop_waits_for_the_exporter_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(SimpleSpanProcessor):
        def shutdown(self) -> None:
            released.wait()

    released = threading.Event()
    monkeypatch.setattr(telemetry, "STOP_S", 0.01)
    tracing.start(Telemetry(Stuck(InMemorySpanExporter()), INTAKE_QUEUE))
    await tracing.stop()
    assert tracing.span("claim", "acme") is tracing.span("send", "acme")
    released.set()
