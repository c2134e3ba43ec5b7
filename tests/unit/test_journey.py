"""One delivery from arrival to its end, whatever happens on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import structlog
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from stream.broker.republish import NotRepublishable
from stream.broker.wire import UNREADABLE, Unreadable
from stream.contract.headers import History
from stream.contract.identifiers import InternalId, TenantId, Wamid
from stream.contract.messages import Message, Whose
from stream.delivery.arrival import Delivery, Limits
from stream.delivery.decision import (
    Acknowledge,
    DeadLetter,
    Decision,
    LeaveToBroker,
    Move,
    Postpone,
    RetryAfter,
    RetryPolicy,
)
from stream.delivery.journey import Journey
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Busy, Failed, Outcome, Sent
from stream.delivery.poison import PoisonGuard
from stream.delivery.processor import MessageProcessor
from stream.delivery.settlement import Settlement
from stream.delivery.unpublished import Unpublished, UnpublishedWaits
from stream.meta.client import Accepted
from stream.meta.failure import Certainty, Failure
from stream.retry import RetryHandler
from stream.traffic.transitions import Transition
from tests.unit.doubles import incoming

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SENT = Sent(Accepted(Wamid("wamid.A"), None, None, 200), 0.1)
BUSY = Failed(Failure.of("META_SERVER_ERROR", "busy"), sends=1)
METADATA = {"tenantId": "acme", "phoneNumberId": "100000001", "internalId": "order-4711"}
PAYLOAD = {"to": "+16505551234", "type": "text", "text": {"body": "Hello"}}
BODY = orjson.dumps({"metadata": METADATA, "wabaPayload": PAYLOAD})


class FakeProcessor(MessageProcessor):
    """Ends each try as the test says, and counts them."""

    def __init__(self, outcome: Outcome) -> None:
        self.tried: list[Message] = []
        self._outcome = outcome

    async def process(self, message: Message) -> Outcome:
        self.tried.append(message)
        return self._outcome


class FakeSettlement(Settlement):
    """Notes what it should settle, or raises, once."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.settled: list[tuple[Delivery, Decision]] = []

    async def settle(self, delivery: Delivery, decision: Decision, transitions: tuple[Transition, ...] = ()) -> None:
        self.transitions = transitions
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.settled.append((delivery, decision))


class FakeGuard(PoisonGuard):
    """Notes what it should watch, and gives the verdict of the test."""

    def __init__(self, verdict: Outcome | None = None) -> None:
        self.verdict = verdict
        self.watched: list[bytes] = []

    @asynccontextmanager
    async def watch(self, body: bytes) -> AsyncIterator[Outcome | None]:
        self.watched.append(body)
        yield self.verdict


class FakeWaits(UnpublishedWaits):
    """Has the wait of the test, and gives it once."""

    def __init__(self, wait: Unpublished | None = None) -> None:
        self.wait = wait
        self.asked = 0

    async def take(self, *_: object) -> Unpublished | None:
        self.asked += 1
        wait, self.wait = self.wait, None
        return wait


class World:
    """A journey, and tries that end as the test says."""

    def __init__(
        self,
        outcome: Outcome = SENT,
        *,
        settle_error: Exception | None = None,
        verdict: Outcome | None = None,
        wait: Unpublished | None = None,
    ) -> None:
        self.story: list[str] = []
        self.processor = FakeProcessor(outcome)
        self.settlement = FakeSettlement(settle_error)
        self.guard = FakeGuard(verdict)
        self.waits = FakeWaits(wait)

    def journey(self) -> Journey:
        return Journey(
            self.processor,
            self.settlement,
            policy=RetryPolicy(failures=3, throttles=10, backoff=RetryHandler(draw=lambda: 0.0)),
            guard=self.guard,
            unpublished=self.waits,
            metrics=DeliveryMetrics(),
            tried=lambda **_: self.story.append("tried"),
            now=lambda: NOW,
        )

    async def begin(self, body: bytes = BODY, *, limits: Limits = Limits(), **properties: Any) -> list[str]:  # noqa: B008 - a frozen value
        with structlog.testing.capture_logs() as lines:
            await self.journey().begin(Delivery.read(incoming(body, story=self.story, **properties), NOW, limits))
        return [line["event"] for line in lines]

    @property
    def settled(self) -> tuple[Delivery, Decision]:
        (settled,) = self.settlement.settled
        return settled


async def test_an_outcome_is_decided_and_settled() -> None:
    world = World()
    await world.begin()
    delivery, decision = world.settled
    assert decision == Acknowledge(SENT)
    assert [delivery.message] == world.processor.tried
    assert delivery.history.first_seen == NOW


async def test_the_history_in_the_headers_counts() -> None:
    world = World(BUSY)
    await world.begin(headers={"x-attempt": 2, "x-retries": {"META_SERVER_ERROR": 2}})
    _, decision = world.settled
    assert isinstance(decision, RetryAfter)
    assert (decision.delay_s, decision.history.attempts) == (4, 3)


async def test_bytes_that_are_no_message_are_dead_lettered_with_the_field_and_never_tried() -> None:
    world = World()
    await world.begin(orjson.dumps({"metadata": {**METADATA, "tenantId": ""}, "wabaPayload": PAYLOAD}))
    delivery, decision = world.settled
    assert (delivery.message, delivery.whose) == (None, Whose(None, InternalId("order-4711")))
    assert isinstance(decision, DeadLetter)
    assert decision.failure.rule.name == "INVALID_MESSAGE"
    assert decision.failure.detail.startswith("metadata.tenantId: must be a text of 1 to 128 characters")
    assert world.processor.tried == []


async def test_a_body_that_breaks_the_reading_is_an_internal_error_and_is_settled_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> Message:
        raise RuntimeError("boom")

    monkeypatch.setattr("stream.delivery.arrival.decode", broken)
    world = World()
    assert await world.begin() == ["unreadable_message"]
    _, decision = world.settled
    assert isinstance(decision, RetryAfter)
    assert decision.failure.rule.name == "INTERNAL_ERROR"


@pytest.mark.parametrize(
    "error", [AMQPError("closed"), ChannelInvalidStateError("closed"), ConnectionResetError()], ids=repr
)
async def test_a_message_whose_channel_is_gone_is_left_to_the_broker(error: Exception) -> None:
    world = World(settle_error=error)
    assert await world.begin() == ["not_settled"]
    assert (world.story, world.settlement.settled) == (["tried"], [])


async def test_a_message_that_cannot_be_settled_never_loops() -> None:
    world = World(settle_error=TypeError("unforeseen"))
    assert await world.begin() == ["settlement_failed"]
    assert world.settled[1] == LeaveToBroker("the worker has an error", "INTERNAL_ERROR")


async def test_a_message_whose_properties_cannot_be_read_is_left_to_the_broker_and_never_sent() -> None:
    world = World()
    await world.begin(headers={UNREADABLE: Unreadable("ValueError: year")})
    assert world.settled[1] == LeaveToBroker("properties cannot be decoded: ValueError: year")
    assert world.processor.tried == []


async def test_a_publisher_cannot_send_a_message_past_the_worker_with_that_header() -> None:
    world = World()
    await world.begin(headers={UNREADABLE: "ValueError: year"})
    assert world.settled[1] == Acknowledge(SENT)


async def test_a_message_that_comes_for_the_first_time_costs_nothing_to_watch() -> None:
    world = World()
    await world.begin()
    assert (world.guard.watched, len(world.processor.tried)) == ([], 1)


@pytest.mark.parametrize(
    "properties", [{"redelivered": True}, {"headers": {"x-redelivered": True}}], ids=["flag", "waited"]
)
async def test_a_message_that_was_delivered_before_is_watched_while_it_is_tried(properties: dict[str, Any]) -> None:
    world = World()
    await world.begin(**properties)
    assert (world.guard.watched, len(world.processor.tried)) == ([BODY], 1)
    assert world.settled[1] == Acknowledge(SENT)


async def test_a_poison_is_dead_lettered_and_nothing_of_it_is_read() -> None:
    verdict = Failed(Failure.of("POISON", "it died", Certainty.UNKNOWN))
    world = World(verdict=verdict)
    await world.begin(redelivered=True)
    delivery, decision = world.settled
    assert (len(world.processor.tried), delivery.message) == (0, None)
    assert decision == DeadLetter(verdict.failure, attempts=1, unknown=1)


@pytest.mark.parametrize("verdict", [Busy(1.0), Failed(Failure.of("POISON", "it died"))], ids=["suspect", "poison"])
async def test_a_message_with_a_verdict_is_the_brokers_turn_too(verdict: Outcome) -> None:
    world = World(verdict=verdict)
    await world.begin(redelivered=True)
    assert world.story == ["tried"]


async def test_a_suspect_waits_for_its_turn_on_the_broker() -> None:
    world = World(verdict=Busy(1.0))
    await world.begin(redelivered=True)
    assert isinstance(world.settled[1], Postpone)
    assert len(world.processor.tried) == 0


# --- a wait that could not be published ---------------------------------------------------------------------------

TRIED_TWICE = History(NOW - timedelta(seconds=9), 2, {"META_SERVER_ERROR": 2})
WHOSE = Whose(TenantId("acme"), InternalId("i-1"))


def wait_until(seconds: float) -> Unpublished:
    return Unpublished(TRIED_TWICE, NOW + timedelta(seconds=seconds), WHOSE)


async def test_a_message_whose_wait_could_not_be_published_waits_for_the_rest_of_it() -> None:
    world = World(BUSY, wait=wait_until(3))
    await world.begin(redelivered=True)
    delivery, decision = world.settled
    assert (len(world.processor.tried), delivery.whose) == (0, WHOSE)
    assert decision == Postpone(3.0, TRIED_TWICE, "backoff")


@pytest.mark.parametrize("seconds", [0, -60])
async def test_after_its_backoff_it_is_tried_with_the_tries_that_it_had(seconds: float) -> None:
    world = World(BUSY, wait=wait_until(seconds))
    await world.begin(redelivered=True)
    _, decision = world.settled
    assert isinstance(decision, RetryAfter)
    assert (len(world.processor.tried), decision.history.attempts) == (1, 3)


async def test_a_poison_is_not_postponed_for_its_backoff() -> None:
    verdict = Failed(Failure.of("POISON", "it died"))
    world = World(BUSY, wait=wait_until(3), verdict=verdict)
    await world.begin(redelivered=True)
    assert world.settled[1] == DeadLetter(verdict.failure, attempts=3)


async def test_the_wait_of_a_message_that_was_moved_to_a_lane_is_found_there() -> None:
    world = World(BUSY, wait=wait_until(3))
    await world.begin(headers={"x-redelivered": True, "x-moved-at": NOW.isoformat()})
    assert world.settled[1] == Postpone(3.0, TRIED_TWICE, "backoff")


@pytest.mark.parametrize("redelivered", [False, True])
async def test_a_message_is_moved_without_a_try_whether_it_is_read_or_not(redelivered: bool) -> None:  # noqa: FBT001 - a parameter
    world = World()
    delivery = Delivery.read(incoming(BODY, redelivered=redelivered), NOW, Limits())
    await world.journey().move(delivery, "whatsapp-lane-6")
    assert world.settled == (delivery, Move("whatsapp-lane-6"))
    assert (world.processor.tried, world.guard.watched, world.story) == ([], [], ["tried"])


async def test_a_message_that_cannot_be_moved_is_tried() -> None:
    world = World(settle_error=NotRepublishable("its properties are too large"))
    await world.journey().move(Delivery.read(incoming(BODY), NOW, Limits()), "whatsapp-lane-6")
    assert world.settled[1] == Acknowledge(SENT)


async def test_a_move_whose_connection_is_lost_is_left_to_the_broker() -> None:
    world = World(settle_error=ChannelInvalidStateError("lost"))
    with structlog.testing.capture_logs() as logs:
        await world.journey().move(Delivery.read(incoming(BODY), NOW, Limits()), "whatsapp-lane-6")
    assert ([line["event"] for line in logs], world.processor.tried) == (["not_settled"], [])


async def test_a_first_delivery_asks_for_no_wait() -> None:
    world = World(wait=wait_until(3))
    await world.begin()
    assert (world.waits.asked, len(world.processor.tried)) == (0, 1)


def test_an_unread_delivery_gives_no_message() -> None:
    delivery = Delivery.read(incoming(BODY, redelivered=True), NOW, Limits())
    assert delivery.is_unread
    with pytest.raises(LookupError):
        _ = delivery.opened
    delivery.open()
    assert delivery.opened.tenant_id == "acme"
