"""Traces: one trace from the publisher through every try to the event or the dead letter, and no content in it."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sandbox.graph import GraphSimulator
from sandbox.tenants import TenantService
from sandbox.worker import WorkerProcess
from sandbox.world import World
from stream import __version__
from tests.collector import Collector, attributes
from tests.scene import Scene, number, text_message, unique

PERSON = "4915112345678"  # a number where nobody expects one
BODY = "The words of a private message"
FAST: dict[str, Any] = {"META_API_RETRY_DELAY_MS": "100", "OTEL_BSP_SCHEDULE_DELAY": "100"}  # ms


@dataclass
class Publisher:
    """The span of an upstream service that publishes a message."""

    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def headers(self) -> dict[str, Any]:
        return {"traceparent": f"00-{self.trace_id}-{self.span_id}-01", "tracestate": "upstream=yes"}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as own:
        yield own


async def _traced_worker(stage: Scene, endpoint: str) -> WorkerProcess:
    worker = await stage.start_worker("traced", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **FAST)
    await stage.watch()
    return worker


async def _publish(stage: Scene, to: str, tenant: str, headers: dict[str, Any]) -> str:
    internal_id = unique("traced")
    message = text_message(to, tenant, internal_id, BODY)
    message["metadata"]["correlationId"] = PERSON
    await stage.outside.publish(
        orjson.dumps(message), tenant, headers=headers, correlation_id=PERSON, message_id=PERSON
    )
    return internal_id


def _parent_in(headers: Any) -> tuple[str, str]:
    """Trace and parent that a published message names."""
    version, trace_id, span_id, flags = str(headers["traceparent"]).split("-")
    assert (version, int(flags, 16) & 1) == ("00", 1)  # sampled
    return trace_id, span_id


def _id(span: Span) -> str:
    return span.span_id.hex()


async def test_one_trace_leads_from_the_publisher_through_a_wait_to_the_sent_event(
    stage: Scene, collector: Collector
) -> None:
    worker = await _traced_worker(stage, collector.url)
    upstream, to, tenant = Publisher(), number("999210000002"), unique("traced")  # one error 2, then success
    internal_id = await _publish(stage, to, tenant, upstream.headers)
    await stage.event(f"outbound.sent.{tenant}", internal_id)
    assert await stage.stop_worker(worker) == 0

    first, second = collector.of(upstream.trace_id, "outbound-processed process")
    assert first.parent_span_id.hex() == upstream.span_id
    assert second.parent_span_id.hex() == _id(first)  # a retry hangs under the try that made it wait
    assert _parent_in(stage.news[0].headers) == (upstream.trace_id, _id(second))
    assert stage.news[0].headers["tracestate"] == "upstream=yes"

    refused, accepted = collector.of(upstream.trace_id, "send")
    assert attributes(refused.attributes) == {
        "tenant.id": tenant,
        "http.response.status_code": 503,
        "error.type": "META_SERVER_ERROR",
    }
    assert refused.status.code == Status.STATUS_CODE_ERROR
    assert attributes(accepted.attributes) == {"tenant.id": tenant, "http.response.status_code": 200}
    assert (refused.kind, accepted.kind) == (Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_CLIENT)
    assert [span.parent_span_id.hex() for span in (refused, accepted)] == [_id(first), _id(second)]

    # Fetched once, then cached: so the first try claims twice.
    (fetched,) = collector.of(upstream.trace_id, "credentials")
    assert fetched.parent_span_id.hex() == _id(first)
    claims = collector.of(upstream.trace_id, "claim")
    assert [span.parent_span_id.hex() for span in claims] == [_id(first), _id(first), _id(second)]
    published = [span for span in collector.of(upstream.trace_id) if span.kind == Span.SPAN_KIND_PRODUCER]
    assert [span.parent_span_id.hex() for span in published] == [_id(first), _id(second)]
    assert published[1].name == "outbound.sent publish"


async def test_a_dead_letter_and_its_alert_belong_to_the_trace(stage: Scene, collector: Collector) -> None:
    worker = await _traced_worker(stage, collector.url)
    upstream, to, tenant = Publisher(), number("99910131047"), unique("traced")
    internal_id = await _publish(stage, to, tenant, upstream.headers)
    letter = await stage.letter(internal_id)
    await stage.event(f"outbound.alert.{tenant}", internal_id)
    assert await stage.stop_worker(worker) == 0
    (one,) = collector.of(upstream.trace_id, "outbound-processed process")
    assert _parent_in(letter.headers) == (upstream.trace_id, _id(one))
    assert letter.headers["tracestate"] == "upstream=yes"
    assert _parent_in(stage.news[0].headers) == (upstream.trace_id, _id(one))


async def test_spans_say_who_and_how_but_hold_no_content(stage: Scene, collector: Collector) -> None:
    worker = await _traced_worker(stage, collector.url)
    sent, refused, odd = number(), number("99910131047"), number("999310")
    for to in (sent, refused, odd):
        await _publish(stage, to, "acme", {"baggage": f"to={PERSON}", "x-note": PERSON, **Publisher().headers})
    await stage.outside.publish(b"not JSON: " + PERSON.encode(), f"acme.{PERSON}", correlation_id=PERSON)
    await stage.accepted(sent)
    await stage.until(lambda: len(stage.letters) == 2, what="two dead letters")
    await stage.settled()
    assert await stage.stop_worker(worker) == 0

    resource = collector.resources[0]
    assert (resource["service.name"], resource["service.version"]) == ("whatsapp-stream", __version__)
    assert resource["service.instance.id"].endswith(f":{worker.process.pid}")
    assert len([span for span in collector.spans if span.name == "outbound-processed process"]) >= 4
    assert [span.name for span in collector.spans if span.events] == []
    assert [span.name for span in collector.spans if span.status.message] == []
    tokens = {request.token for request in stage.graph.requests if request.token}
    assert tokens
    told = {*tokens, PERSON, sent, refused, odd, BODY, "wamid", "traced-", "graph.facebook", stage.graph.url}
    assert [secret for secret in told if secret in collector.text] == []


@pytest.fixture(scope="module")
async def traced(
    world: World, graph: GraphSimulator, tenants: TenantService, settings: dict[str, str]
) -> AsyncIterator[tuple[Scene, Collector]]:
    """One traced worker for many messages."""
    async with Collector() as own, Scene.on_new_vhost(world, settings, graph, tenants) as stage:
        await _traced_worker(stage, own.url)
        yield stage, own


@pytest.mark.parametrize(
    "value", [7, bytearray(b"\xff"), [1, 2], {"a": 1}, None, "", "00-zz", "00-" + "0" * 32 + "-" + "0" * 16]
)
async def test_a_trace_header_that_makes_no_sense_holds_nothing_back(
    traced: tuple[Scene, Collector], value: object
) -> None:
    stage, collector = traced
    to, tenant = number(), unique("odd")
    names = ("traceparent", "tracestate", "baggage")
    internal_id = await _publish(stage, to, tenant, dict.fromkeys(names, value))
    await stage.event(f"outbound.sent.{tenant}", internal_id)
    assert len(stage.taken(to)) == 1
    trace_id, _ = _parent_in(stage.news[-1].headers)
    await stage.until(lambda: collector.of(trace_id, "send"), what="a trace of its own")


async def test_an_endpoint_that_is_away_delays_neither_a_message_nor_the_stop_for_long(stage: Scene) -> None:
    async with Collector() as gone:
        pass
    worker = await _traced_worker(stage, gone.url)
    to, tenant = number(), unique("traced")
    internal_id = await _publish(stage, to, tenant, {})
    await stage.event(f"outbound.sent.{tenant}", internal_id)
    await stage.settled()
    started = time.monotonic()
    assert await stage.stop_worker(worker) == 0
    assert time.monotonic() - started < 8
    assert "Traceback" not in worker.log.read_text()
