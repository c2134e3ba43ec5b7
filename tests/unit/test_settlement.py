from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson
import pytest
from aio_pika import DeliveryMode, IncomingMessage
from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity, PublishError
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from structlog.testing import capture_logs

from stream.broker.express import ExpressLane, Properties, Unanswered
from stream.broker.handover import Handover
from stream.broker.republish import Copy, NotRepublishable
from stream.contract.events import Scope
from stream.contract.headers import History
from stream.contract.identifiers import TenantId, Wamid
from stream.contract.messages import Whose
from stream.contract.queues import INTAKE_QUEUE
from stream.delivery.alert_interval import AlertInterval
from stream.delivery.arrival import Delivery
from stream.delivery.decision import Acknowledge, DeadLetter, Decision, LeaveToBroker, Move, Postpone, RetryAfter
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Duplicate, Sent
from stream.delivery.settlement import Settlement
from stream.delivery.unpublished import Unpublished, UnpublishedWaits
from stream.meta.client import Accepted
from stream.meta.failure import Failure
from stream.traffic.circuit import Circuit, State
from stream.traffic.transitions import Transition
from tests.unit.doubles import Channel, Sleeps, incoming, message, properties_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HISTORY = History(NOW)
FIRST = Accepted(Wamid("wamid.A"), None, None, 200)
SENT = Acknowledge(Sent(FIRST, 0.1))
WAIT = RetryAfter(Failure.of("META_SERVER_ERROR", "busy"), 1.0, HISTORY.after("META_SERVER_ERROR", 1))
GIVE_UP = DeadLetter(Failure.of("WINDOW_EXPIRED", "24 h"), 1)
RETURNED = DeliveredMessage(Basic.Return(), ContentHeader(), b"", Channel([]))  # type: ignore[arg-type]
QUIET = DeadLetter(Failure.of("INVALID_PHONE", "not a number"), 1)


class FakeHandover(Handover):
    """Takes copies, and fails as often as it is told to."""

    def __init__(self, story: list[str], errors: dict[str, list[BaseException]]) -> None:
        super().__init__()
        self.published: dict[str, tuple[Copy, str]] = {}
        self._story = story
        self._errors = errors

    async def publish(self, incoming: AbstractIncomingMessage, copy: Copy, *, exchange: str, routing_key: str) -> None:
        assert not incoming.channel.is_closed
        name = "dead_letters" if exchange == "whatsapp-dlx" else "waits"
        if errors := self._errors.get(name):
            raise errors.pop(0)
        self._story.append(name)
        self.published[name] = (copy, routing_key)


@dataclass(frozen=True)
class Event:
    """What was given to the express lane."""

    body: bytes
    properties: Properties
    routing_key: str


class FakeLane(ExpressLane):
    """Encodes what it is given, as the real one would, and fails as often as it is told to."""

    def __init__(self, story: list[str], errors: dict[str, list[BaseException]]) -> None:
        super().__init__()
        self.published: list[Event] = []
        self._story = story
        self._errors = errors

    async def publish(
        self, incoming: AbstractIncomingMessage, body: bytes, properties: Properties, *, exchange: str, routing_key: str
    ) -> None:
        assert not incoming.channel.is_closed
        assert exchange == "whatsapp-exchange"
        name = "sent" if routing_key.startswith("outbound.sent.") else "alerts"
        if errors := self._errors.get(name):
            raise errors.pop(0)
        properties.marshal()
        self._story.append(name)
        self.published.append(Event(body, properties, routing_key))

    def acknowledge(self, incoming: AbstractIncomingMessage) -> None:
        assert not incoming.channel.is_closed
        self._story.append("acked")


class FakeWaits(UnpublishedWaits):
    """Notes what it should keep."""

    def __init__(self, story: list[str]) -> None:
        self.kept: list[Unpublished] = []
        self._story = story

    async def keep(self, _: object, wait: Unpublished, __: object) -> None:
        self._story.append("kept")
        self.kept.append(wait)


class FakeAlerts(AlertInterval):
    """Every alert is due, or none."""

    def __init__(self) -> None:
        self.due = 1

    async def count(self, tenant_id: TenantId, error_type: str) -> int:
        assert (tenant_id, bool(error_type)) == ("acme", True)
        return self.due


class World:
    """A settlement whose publishers and message write one story: what happened, in order."""

    def __init__(self, **errors: Sequence[BaseException]) -> None:
        self.intake = INTAKE_QUEUE
        self.story: list[str] = []
        self.sleeps = Sleeps()
        failing = {name: list(each) for name, each in errors.items()}
        self.handover = FakeHandover(self.story, failing)
        self.lane = FakeLane(self.story, failing)
        self.waits = FakeWaits(self.story)
        self.alerts = FakeAlerts()

    async def settle(
        self,
        decision: Decision,
        *,
        known: bool = True,
        lane: str = "",
        transitions: tuple[Transition, ...] = (),
        **properties: Any,
    ) -> list[str]:
        correlation = properties.pop("correlationId", None)
        content = message(correlationId=correlation) if known else None
        settlement = Settlement(
            self.handover,
            self.lane,
            self.waits,
            self.alerts,
            intake=self.intake,
            mend_topology=lambda: self.story.append("mended"),
            metrics=DeliveryMetrics(),
            now=lambda: NOW,
            sleep=self.sleeps,
        )
        delivery = Delivery(incoming(b"body", story=self.story, **properties), HISTORY, content, lane=lane)
        await settlement.settle(delivery, decision, transitions)
        return self.story

    def only(self, name: str) -> tuple[Copy, str]:
        return self.handover.published[name]


@pytest.mark.parametrize(
    ("decision", "story"),
    [
        (SENT, ["sent", "acked"]),
        (Acknowledge(Duplicate(FIRST)), ["acked"]),
        (WAIT, ["waits", "acked"]),
        (Postpone(2.0, HISTORY), ["waits", "acked"]),
        (Move("whatsapp-lane-6"), ["waits", "acked"]),
        (GIVE_UP, ["dead_letters", "alerts", "acked"]),
        (QUIET, ["dead_letters", "acked"]),
        (LeaveToBroker("no copy"), ["rejected requeue=False"]),
    ],
    ids=["sent", "duplicate", "wait", "wait-for-other", "move", "told", "not-told", "left-to-broker"],
)
async def test_it_publishes_first_and_acknowledges_after(decision: Decision, story: list[str]) -> None:
    assert await World().settle(decision) == story


async def test_bytes_that_are_no_message_are_dead_lettered_without_an_event() -> None:
    world = World()
    await world.settle(GIVE_UP, known=False)
    assert world.story == ["dead_letters", "acked"]
    assert world.only("dead_letters")[0].body == b"body"


async def test_a_waiting_copy_is_routed_by_its_delay_and_carries_its_history() -> None:
    world = World()
    await world.settle(WAIT)
    copy, routing_key = world.only("waits")
    assert routing_key == "0.0.0.0.0.0.0.0.0.0.0.1.0.0.outbound-processed"
    headers = properties_of(copy).headers or {}
    assert (headers["x-attempt"], headers["x-retries"]) == (1, {"META_SERVER_ERROR": 1})
    assert (copy.body, properties_of(copy).delivery_mode) == (b"body", DeliveryMode.PERSISTENT)


async def test_a_message_that_is_moved_goes_to_its_lane_as_it_came_and_says_when() -> None:
    world = World()
    await world.settle(Move("whatsapp-lane-6"), redelivered=True, priority=7, expiration="60000", headers={"X-A": 1})
    copy, routing_key = world.only("waits")
    assert (copy.body, routing_key) == (b"body", "whatsapp-lane-6")
    assert (properties_of(copy).headers or {}) == {
        "X-A": 1,
        "x-first-seen": NOW.isoformat(),
        "x-moved-at": NOW.isoformat(),
        "x-original-expiration": "60000",
        "x-original-priority": 7,
        "x-original-routing-key": "outbound.processed.acme",
        "x-redelivered": True,
    }


async def test_a_message_that_cannot_be_copied_is_not_moved_and_not_settled() -> None:
    world = World()
    with pytest.raises(NotRepublishable):
        await world.settle(Move("whatsapp-lane-6"), headers={"x-long": "a" * 110_000})
    assert world.story == []


async def test_a_message_of_a_lane_comes_back_to_it_from_a_wait() -> None:
    world = World()
    await world.settle(WAIT, lane="whatsapp-lane-6")
    copy, routing_key = world.only("waits")
    assert routing_key == "0.0.0.0.0.0.0.0.0.0.0.1.0.0.whatsapp-lane-6"
    assert (properties_of(copy).headers or {})["x-moved-at"] == (NOW + timedelta(seconds=1)).isoformat()


@pytest.mark.parametrize(
    ("decision", "queue"), [(WAIT, "outbound-a"), (Postpone(1.0, HISTORY, "pace"), "whatsapp-due-outbound-a")]
)
async def test_a_message_of_a_shard_comes_back_to_it_from_a_wait(decision: Decision, queue: str) -> None:
    world = World()
    world.intake = "outbound-a"
    await world.settle(decision)
    assert world.only("waits")[1] == f"0.0.0.0.0.0.0.0.0.0.0.1.0.0.{queue}"


async def test_a_message_whose_turn_is_reserved_comes_back_past_the_intake_from_a_lane_too() -> None:
    for lane in ("", "whatsapp-lane-6"):
        world = World()
        await world.settle(Postpone(1.0, HISTORY, "pace"), lane=lane)
        assert world.only("waits")[1] == "0.0.0.0.0.0.0.0.0.0.0.1.0.0.whatsapp-due"


async def test_a_dead_letter_has_the_agreed_key_and_the_reason() -> None:
    world = World()
    await world.settle(QUIET)
    copy, routing_key = world.only("dead_letters")
    assert routing_key == "outbound.failed"
    assert (properties_of(copy).headers or {})["x-error-type"] == "INVALID_PHONE"


@pytest.mark.parametrize(
    ("decision", "name", "key"), [(SENT, "sent", "outbound.sent.acme"), (GIVE_UP, "alerts", "outbound.alert.acme")]
)
async def test_an_event_goes_out_under_its_tenants_key_as_json(decision: Decision, name: str, key: str) -> None:
    world = World()
    await world.settle(decision, correlation_id="c-2")
    (event,) = world.lane.published
    assert (world.story[-2], event.routing_key) == (name, key)
    assert orjson.loads(event.body)["tenantId"] == "acme"
    properties = event.properties
    assert (properties.content_type, properties.correlation_id) == ("application/json", "c-2")
    assert properties.delivery_mode == DeliveryMode.PERSISTENT


@pytest.mark.parametrize("length", [255, 256, 100_000])
@pytest.mark.parametrize("decision", [SENT, GIVE_UP], ids=["sent", "told"])
async def test_a_correlation_id_of_any_length_costs_no_settlement(decision: Decision, length: int) -> None:
    assert (await World().settle(decision, correlationId="c" * length))[-1] == "acked"


@pytest.mark.parametrize(
    "error",
    [
        AMQPError("closed"),
        ChannelInvalidStateError("closed"),
        OSError("gone"),
        asyncio.CancelledError(),
        Exception(),  # aiormq's, for a connection that ends between two frames
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(("decision", "name"), [(WAIT, "waits"), (QUIET, "dead_letters"), (SENT, "sent")])
async def test_a_publish_that_fails_once_is_tried_again(decision: Decision, name: str, error: BaseException) -> None:
    assert await World(**{name: [error]}).settle(decision) == [name, "acked"]


def kept(decision: Decision) -> list[str]:
    """What is noted of a decision that could not be carried out: waits alone."""
    return ["kept"] if isinstance(decision, RetryAfter | Postpone) else []


@pytest.mark.parametrize("decision", [WAIT, Postpone(1.0, WAIT.history, "backoff")], ids=["retry", "backoff"])
async def test_of_a_wait_that_could_not_be_published_its_end_and_its_history_are_kept(decision: Decision) -> None:
    world = World(waits=[TimeoutError("no confirm")])
    await world.settle(decision)
    whose = Whose(message().tenant_id, message().internal_id)
    assert world.waits.kept == [Unpublished(WAIT.history, NOW + timedelta(seconds=1), whose)]


@pytest.mark.parametrize(("decision", "name"), [(WAIT, "waits"), (QUIET, "dead_letters"), (SENT, "sent")])
@pytest.mark.parametrize(
    "error", [PublishError(RETURNED, Basic.Return()), ChannelNotFoundEntity("no exchange")], ids=["queue", "exchange"]
)
async def test_what_somebody_has_deleted_is_declared_again(decision: Decision, name: str, error: Exception) -> None:
    assert await World(**{name: [error]}).settle(decision) == ["mended", name, "acked"]


@pytest.mark.parametrize("name", ["waits", "dead_letters"])
async def test_a_copy_that_may_have_arrived_is_not_published_again(name: str) -> None:
    world = World(**{name: [TimeoutError("no confirm")]})
    decision = WAIT if name == "waits" else GIVE_UP
    assert await world.settle(decision) == [*kept(decision), "nacked requeue=True"]


async def test_an_event_without_a_confirm_is_not_published_again_and_holds_no_message_back() -> None:
    with capture_logs() as lines:
        assert await World(sent=[Unanswered("no confirm")]).settle(SENT) == ["acked"]
    assert [line["event"] for line in lines] == ["event_unconfirmed", "delivered"]


@pytest.mark.parametrize("decision", [SENT, WAIT, GIVE_UP], ids=["sent", "wait", "give-up"])
async def test_a_connection_that_is_lost_under_a_publish_ends_its_attempts(
    monkeypatch: pytest.MonkeyPatch, decision: Decision
) -> None:
    world = World(**{name: [AMQPError("lost")] for name in ("sent", "waits", "dead_letters")})

    async def lost(_: float) -> None:
        monkeypatch.setattr(Channel, "is_closed", True)

    monkeypatch.setattr(world, "sleeps", lost)
    with pytest.raises(ChannelInvalidStateError):
        await world.settle(decision)
    assert world.story == kept(decision)


@pytest.mark.parametrize(("decision", "name"), [(WAIT, "waits"), (GIVE_UP, "dead_letters")])
async def test_a_message_whose_copy_is_never_confirmed_goes_back_to_the_queue(decision: Decision, name: str) -> None:
    world = World(**{name: [AMQPError("closed") for _ in range(99)]})
    assert await world.settle(decision) == [*kept(decision), "nacked requeue=True"]
    assert sum(world.sleeps.asked) >= 1  # not in a hot loop


@pytest.mark.parametrize(
    ("decision", "name", "story"), [(SENT, "sent", ["acked"]), (GIVE_UP, "alerts", ["dead_letters", "acked"])]
)
async def test_an_event_that_is_lost_holds_no_message_back(decision: Decision, name: str, story: list[str]) -> None:
    world = World(**{name: [AMQPError("closed") for _ in range(99)]})
    assert await world.settle(decision) == story


@pytest.mark.parametrize("decision", [WAIT, GIVE_UP], ids=["wait", "give-up"])
async def test_a_message_that_cannot_be_copied_is_left_to_the_brokers_own_dead_lettering(decision: Decision) -> None:
    story = await World().settle(decision, headers={"X-Big": "x" * 120_000})
    assert story == ["rejected requeue=False"]


async def test_a_real_cancellation_is_not_taken_for_a_broken_connection() -> None:
    world = World()
    started = asyncio.Event()

    async def publish(*_: Any, **__: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    world.handover.publish = publish  # type: ignore[method-assign]
    task = asyncio.create_task(world.settle(WAIT))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.story == []


@pytest.mark.parametrize("raises", [True, False], ids=["aio-pika-raises", "aio-pika-says-so"])
@pytest.mark.parametrize("decision", [SENT, WAIT, GIVE_UP], ids=["sent", "wait", "give-up"])
async def test_a_message_whose_channel_is_closed_is_left_to_the_broker_alone(
    monkeypatch: pytest.MonkeyPatch, decision: Decision, *, raises: bool
) -> None:
    monkeypatch.setattr(Channel, "is_closed", True)
    if not raises:  # today's aio-pika raises when it is asked for a closed channel; its interface does not promise that
        monkeypatch.setattr(IncomingMessage, "channel", Channel([]))
    world = World()
    with pytest.raises(ChannelInvalidStateError):
        await world.settle(decision)
    assert world.story == kept(decision)


@pytest.mark.parametrize("decision", [SENT, WAIT, GIVE_UP], ids=["sent", "wait", "give-up"])
async def test_a_message_whose_channel_is_just_being_closed_is_not_copied_either(
    monkeypatch: pytest.MonkeyPatch, decision: Decision
) -> None:
    channel = Channel([])
    channel.answer_close()
    monkeypatch.setattr(IncomingMessage, "channel", channel)
    world = World()
    with pytest.raises(ChannelInvalidStateError):
        await world.settle(decision)
    assert world.story == kept(decision)


async def test_a_decision_that_it_does_not_know_acknowledges_nothing() -> None:
    world = World()
    with pytest.raises(AssertionError):
        await world.settle(cast("Decision", "forget it"))
    assert world.story == []


async def test_an_error_that_nobody_foresaw_is_not_taken_for_a_broken_connection() -> None:
    world = World(waits=[ZeroDivisionError("unforeseen")])
    with pytest.raises(ZeroDivisionError):
        await world.settle(WAIT)
    assert world.story == []


async def test_a_message_that_cannot_be_reported_is_settled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(DeliveryMetrics, "settled", broken)
    with capture_logs() as lines:
        assert await World().settle(WAIT) == ["waits", "acked"]
    assert [line["event"] for line in lines] == ["waiting_for_retry", "not_reported"]


async def test_an_event_that_comes_twice_has_the_same_message_id() -> None:
    world = World()
    await world.settle(SENT)
    await world.settle(Acknowledge(Duplicate(FIRST)), headers={"x-redelivered": True})
    assert [event.properties.message_id for event in world.lane.published] == ["wamid.A", "wamid.A"]


async def test_an_alert_that_is_not_due_is_counted_only_and_one_that_is_due_says_how_many_there_were() -> None:
    world = World()
    world.alerts.due = 0
    assert await world.settle(GIVE_UP) == ["dead_letters", "acked"]
    world = World()
    world.alerts.due = 7
    assert await world.settle(GIVE_UP) == ["dead_letters", "alerts", "acked"]
    assert orjson.loads(world.lane.published[-1].body)["count"] == 7


@pytest.mark.parametrize("to", State)
async def test_a_circuit_that_a_try_has_changed_is_announced_before_its_message_is_acknowledged(to: State) -> None:
    world, circuit = World(), Circuit(State.OPEN, 5, since=1_800_000_000_000, reason="AUTH_ERROR")
    transition = Transition(Scope.TENANT, "acme", TenantId("acme"), to, circuit)
    assert await world.settle(SENT, transitions=(transition,)) == ["sent", "alerts", "acked"]
    event = orjson.loads(world.lane.published[-1].body)
    assert (event["circuit"], event["circuitId"], event["scope"]) == (to, "acme", "tenant")
    assert (event["errorType"], event["failures"], event["alert"]) == ("AUTH_ERROR", 5, to is State.OPEN)
    assert event["since"] == "2027-01-15T08:00:00+00:00"
