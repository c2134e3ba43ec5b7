"""How a message that comes in reaches the handler, and what FastStream is told about it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aio_pika import IncomingMessage
from faststream.rabbit import RabbitQueue
from faststream.rabbit.parser import AioPikaParser
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stream.broker.topology import Topology
from stream.contract.queues import INTAKE_QUEUE
from stream.delivery.arrival import Delivery, Limits
from stream.delivery.subscriber import NO_ID, Reading, build_lane_subscribers, build_subscribers, parse_message
from stream.observe import tracing
from stream.observe.telemetry import Telemetry
from tests.unit.doubles import incoming


@pytest.mark.parametrize(
    ("properties", "ids"),
    [
        ({"message_id": "m-1", "correlation_id": "c-1", "headers": {"x-a": 1}, "content_type": "text/plain"}, None),
        ({}, {"message_id": NO_ID, "correlation_id": NO_ID}),
    ],
    ids=["all", "none"],
)
async def test_a_message_is_read_as_faststream_reads_it_but_for_ids_that_it_does_not_have(
    properties: dict[str, Any], ids: dict[str, str] | None
) -> None:
    raw = cast("IncomingMessage", incoming(b"body", **properties))
    ours, theirs = await parse_message(raw), await AioPikaParser().parse_message(raw)
    if ids is not None:
        vars(theirs).update(ids)
    assert vars(ours) == vars(theirs)


class Started:
    """An admission that keeps what it is given."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    async def start(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)


async def lanes_that_got_a_message() -> list[str]:
    """Give one message to each consumer of a broker that FastStream has not started: it would take none."""
    admission = Started()
    reading = Reading(cast("Any", admission), Limits())
    routers = (
        build_subscribers(reading, Topology(), prefetch=10),
        build_lane_subscribers(reading, [RabbitQueue("lane-1")], prefetch=10),
    )
    for router in routers:
        for subscriber in router.subscribers:
            await subscriber.consume(cast("IncomingMessage", incoming(b"body")))
    return [delivery.lane for delivery in admission.deliveries]


async def test_without_traces_a_message_reaches_the_handler_past_what_faststream_does_around_one() -> None:
    assert await lanes_that_got_a_message() == ["", "", "lane-1"]


async def test_with_traces_a_message_goes_through_faststream_which_has_the_middleware() -> None:
    tracing.start(Telemetry(SimpleSpanProcessor(InMemorySpanExporter()), INTAKE_QUEUE))
    try:
        assert await lanes_that_got_a_message() == []
    finally:
        await tracing.stop()
