from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from stream.broker.wire import UNREADABLE, Unreadable
from stream.contract.headers import History
from stream.contract.identifiers import InternalId, TenantId, Wamid
from stream.contract.messages import InvalidMessage, Whose
from stream.contract.validity import Validity
from stream.delivery.consumer import Attempt, MessageConsumer
from stream.delivery.decision import Acknowledge, DeadLetter, Decision, Postpone, RetryAfter, RetryPolicy
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Busy, Failed, Outcome, Sent
from stream.delivery.poison import Bring, PoisonGuard
from stream.delivery.settlement import Delivery, Settlement
from stream.delivery.unpublished import Unpublished, UnpublishedWaits
from stream.meta.client import Accepted
from stream.meta.failure import Certainty, Failure
from stream.retry import RetryHandler
from tests.unit.doubles import incoming, message

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SENT = Sent(Accepted(Wamid("wamid.A"), None, None, 200), 0.1)
BUSY = Failed(Failure.of("META_SERVER_ERROR", "busy"), sends=1)


class FakeSettlement(Settlement):
    """Notes what it should settle, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.settled: list[tuple[Delivery, Decision]] = []

    async def settle(self, delivery: Delivery, decision: Decision) -> None:
        if self.error is not None:
            raise self.error
        self.settled.append((delivery, decision))


class FakeGuard(PoisonGuard):
    """Notes what it should watch, and gives the verdict of the test."""

    def __init__(self, verdict: Outcome | None = None) -> None:
        self.verdict = verdict
        self.watched: list[bytes] = []

    async def watch(self, body: bytes, bring: Bring) -> None:
        self.watched.append(body)
        await bring(self.verdict)


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
    """A consumer and one message whose attempt ends as the test says."""

    def __init__(
        self,
        outcome: Outcome | Exception,
        *,
        settle_error: Exception | None = None,
        verdict: Outcome | None = None,
        wait: Unpublished | None = None,
    ) -> None:
        self.waits = FakeWaits(wait)
        self.story: list[str] = []
        self.guard = FakeGuard(verdict)
        self.attempts = 0
        self.settlement = FakeSettlement(settle_error)
        self._outcome = outcome

    async def consume(self, **properties: Any) -> list[str]:
        policy = RetryPolicy(failures=3, throttles=10, backoff=RetryHandler(draw=lambda: 0.0))
        consumer = MessageConsumer(
            settlement=self.settlement,
            policy=policy,
            guard=self.guard,
            unpublished=self.waits,
            metrics=DeliveryMetrics(),
            tried=lambda: self.story.append("tried"),
            now=lambda: NOW,
        )
        with structlog.testing.capture_logs() as lines:
            await consumer.consume(incoming(story=self.story, **properties), self._attempt)
        return [line["event"] for line in lines]

    async def _attempt(self, validity: Validity) -> Attempt:
        self.validity = validity
        self.attempts += 1
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return Attempt(message(), self._outcome)

    @property
    def settled(self) -> tuple[Delivery, Decision]:
        (settled,) = self.settlement.settled
        return settled


async def test_an_outcome_is_decided_and_settled() -> None:
    world = World(SENT)
    await world.consume()
    delivery, decision = world.settled
    assert decision == Acknowledge(SENT)
    assert delivery.message is not None
    assert delivery.history.first_seen == NOW


async def test_the_history_in_the_headers_counts() -> None:
    world = World(BUSY)
    await world.consume(headers={"x-attempt": 2, "x-retries": {"META_SERVER_ERROR": 2}})
    _, decision = world.settled
    assert isinstance(decision, RetryAfter)
    assert (decision.delay_s, decision.history.attempts) == (4, 3)


async def test_bytes_that_are_no_message_are_dead_lettered_with_the_field() -> None:
    whose = Whose(None, InternalId("order-4711"))
    world = World(InvalidMessage("metadata.tenantId", "is required", whose))
    await world.consume()
    delivery, decision = world.settled
    assert (delivery.message, delivery.whose) == (None, whose)
    assert decision == DeadLetter(Failure.of("INVALID_MESSAGE", "metadata.tenantId: is required"), 1)


async def test_an_attempt_that_breaks_is_an_internal_error_and_is_settled_too() -> None:
    world = World(RuntimeError("boom"))
    await world.consume()
    _, decision = world.settled
    assert isinstance(decision, RetryAfter)
    assert decision.failure.rule.name == "INTERNAL_ERROR"


@pytest.mark.parametrize(
    "error", [AMQPError("closed"), ChannelInvalidStateError("closed"), ConnectionResetError()], ids=repr
)
async def test_a_message_whose_channel_is_gone_is_left_to_the_broker(error: Exception) -> None:
    world = World(SENT, settle_error=error)
    assert await world.consume() == ["not_settled"]
    assert world.story == ["tried"]


async def test_a_message_that_cannot_be_settled_never_loops() -> None:
    world = World(SENT, settle_error=TypeError("unforeseen"))
    assert await world.consume() == ["settlement_failed"]
    assert world.story == ["tried", "rejected requeue=False"]


async def test_a_message_whose_properties_cannot_be_read_is_moved_by_the_broker_and_never_sent() -> None:
    world = World(SENT)
    assert await world.consume(headers={UNREADABLE: Unreadable("ValueError: year")}) == ["dead_lettered_by_broker"]
    assert (world.story, world.settlement.settled) == (["tried", "rejected requeue=False"], [])


async def test_a_publisher_cannot_send_a_message_past_the_worker_with_that_header() -> None:
    world = World(SENT)
    await world.consume(headers={UNREADABLE: "ValueError: year"})
    assert len(world.settlement.settled) == 1


async def test_a_message_that_comes_for_the_first_time_costs_nothing_to_watch() -> None:
    world = World(SENT)
    await world.consume()
    assert (world.guard.watched, world.attempts) == ([], 1)


@pytest.mark.parametrize(
    "properties", [{"redelivered": True}, {"headers": {"x-redelivered": True}}], ids=["flag", "waited"]
)
async def test_a_message_that_was_delivered_before_is_watched_while_it_is_tried(properties: dict[str, Any]) -> None:
    world = World(SENT)
    await world.consume(**properties)
    assert (world.guard.watched, world.attempts) == ([b"{}"], 1)
    assert world.settled[1] == Acknowledge(SENT)


async def test_a_poison_is_dead_lettered_and_nothing_of_it_is_read() -> None:
    verdict = Failed(Failure.of("POISON", "it died", Certainty.UNKNOWN))
    world = World(SENT, verdict=verdict)
    await world.consume(redelivered=True)
    delivery, decision = world.settled
    assert (world.attempts, delivery.message) == (0, None)
    assert decision == DeadLetter(verdict.failure, attempts=1, unknown=1)


@pytest.mark.parametrize("verdict", [Busy(1.0), Failed(Failure.of("POISON", "it died"))], ids=["suspect", "poison"])
async def test_a_message_with_a_verdict_is_the_brokers_turn_too(verdict: Outcome) -> None:
    world = World(SENT, verdict=verdict)
    await world.consume(redelivered=True)
    assert world.story == ["tried"]


async def test_a_suspect_waits_for_its_turn_on_the_broker() -> None:
    world = World(SENT, verdict=Busy(1.0))
    await world.consume(redelivered=True)
    assert isinstance(world.settled[1], Postpone)
    assert world.attempts == 0


# --- a wait that could not be published ---------------------------------------------------------------------------

TRIED_TWICE = History(NOW - timedelta(seconds=9), 2, {"META_SERVER_ERROR": 2})
WHOSE = Whose(TenantId("acme"), InternalId("i-1"))


def wait_until(seconds: float) -> Unpublished:
    return Unpublished(TRIED_TWICE, NOW + timedelta(seconds=seconds), WHOSE)


async def test_a_message_whose_wait_could_not_be_published_waits_for_the_rest_of_it() -> None:
    world = World(BUSY, wait=wait_until(3))
    await world.consume(redelivered=True)
    delivery, decision = world.settled
    assert (world.attempts, delivery.whose) == (0, WHOSE)
    assert decision == Postpone(3.0, TRIED_TWICE, "backoff")


@pytest.mark.parametrize("seconds", [0, -60])
async def test_after_its_backoff_it_is_tried_with_the_tries_that_it_had(seconds: float) -> None:
    world = World(BUSY, wait=wait_until(seconds))
    await world.consume(redelivered=True)
    _, decision = world.settled
    assert isinstance(decision, RetryAfter)
    assert (world.attempts, decision.history.attempts) == (1, 3)


async def test_a_poison_is_not_postponed_for_its_backoff() -> None:
    verdict = Failed(Failure.of("POISON", "it died"))
    world = World(BUSY, wait=wait_until(3), verdict=verdict)
    await world.consume(redelivered=True)
    assert world.settled[1] == DeadLetter(verdict.failure, attempts=3)


async def test_a_first_delivery_asks_for_no_wait() -> None:
    world = World(SENT, wait=wait_until(3))
    await world.consume()
    assert (world.waits.asked, world.attempts) == (0, 1)
