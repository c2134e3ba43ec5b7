"""The worker's subscriber on FastStream's own TestRabbitBroker: a message in, its event out, no server.

Only what writes frames to a real connection is replaced: events leave through FastStream's publish.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aio_pika.abc import AbstractIncomingMessage
from faststream.rabbit import RabbitBroker, RabbitQueue, TestRabbitBroker

from stream.broker.express import ExpressLane, Properties
from stream.broker.handover import Handover
from stream.broker.topology import INTAKE, Topology
from stream.contract.lanes import lane_names
from stream.contract.queues import INTAKE_QUEUE
from stream.delivery.admission import Admission
from stream.delivery.alert_interval import AlertInterval
from stream.delivery.arrival import Limits
from stream.delivery.decision import RetryPolicy
from stream.delivery.inflight import InFlight
from stream.delivery.journey import Journey
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.poison import PoisonGuard
from stream.delivery.settlement import Settlement
from stream.delivery.subscriber import Reading, build_subscribers
from stream.delivery.unpublished import UnpublishedWaits
from stream.redis.client import connect
from stream.redis.link import RedisLink
from stream.retry import RetryHandler
from stream.traffic.shares import Shares
from tests.unit import processing
from tests.unit.doubles import Channel

MESSAGE = {
    "metadata": {"tenantId": "acme", "phoneNumberId": "100000001", "internalId": "order-4711"},
    "wabaPayload": {"to": "+16505551234", "type": "text", "text": {"body": "Hello"}},
}


class FastStreamLane(ExpressLane):
    """Publishes events through FastStream."""

    def __init__(self, broker: RabbitBroker) -> None:
        super().__init__()
        self._broker = broker
        self.acknowledged = 0

    async def publish(
        self, incoming: AbstractIncomingMessage, body: bytes, properties: Properties, *, exchange: str, routing_key: str
    ) -> None:
        assert incoming.routing_key == "outbound.processed.acme"
        assert exchange == INTAKE.name
        await self._broker.publish(
            body,
            exchange=INTAKE,
            routing_key=routing_key,
            message_id=properties.message_id,
            mandatory=False,
        )

    def acknowledge(self, incoming: AbstractIncomingMessage) -> None:
        assert incoming.body == orjson.dumps(MESSAGE)
        self.acknowledged += 1


async def test_a_message_that_meta_accepts_is_announced_and_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faststream.rabbit.testing.AsyncMock", lambda: Channel([]))  # an open channel, not a closed one
    broker, in_flight, world = RabbitBroker(apply_types=False), InFlight(), processing.World(processing.OK)
    redis, lane = RedisLink(connect("redis://127.0.0.1:1")), FastStreamLane(broker)
    journey = Journey(
        world.processor,
        Settlement(
            Handover(),
            lane,
            UnpublishedWaits(redis),
            AlertInterval(redis, interval_ms=0),
            intake=INTAKE_QUEUE,
            mend_topology=lambda: None,
            metrics=DeliveryMetrics(),
        ),
        policy=RetryPolicy(failures=3, throttles=None, backoff=RetryHandler()),
        guard=PoisonGuard(redis, bound_s=60),
        unpublished=UnpublishedWaits(redis),
        metrics=DeliveryMetrics(),
        tried=in_flight.tried,
    )
    admission = Admission(journey, in_flight, Shares(10, 0.5), lanes=lane_names(8))
    admission.open()
    broker.include_router(build_subscribers(Reading(admission, Limits()), Topology(), prefetch=10))
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    @broker.subscriber(RabbitQueue("events", routing_key="outbound.sent.#"), INTAKE)
    async def take(event: dict[str, Any]) -> None:
        await events.put(event)

    async with TestRabbitBroker(broker), asyncio.timeout(5):
        await broker.publish(orjson.dumps(MESSAGE), exchange=INTAKE, routing_key="outbound.processed.acme")
        event = await events.get()
        await in_flight.drain(5)
    assert (event["internalId"], event["wamid"], lane.acknowledged) == ("order-4711", "wamid.A", 1)
    assert orjson.loads(world.requests[0].content) == MESSAGE["wabaPayload"]
