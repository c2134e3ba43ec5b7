"""Every metric is declared once, says what happened, and stays bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stream.contract.headers import History
from stream.contract.identifiers import Wamid
from stream.contract.messages import Message
from stream.delivery.arrival import Delivery
from stream.delivery.decision import Acknowledge, DeadLetter, Decision, LeaveToBroker, Move, Postpone, RetryAfter
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Duplicate, Sent
from stream.meta.client import Accepted
from stream.meta.failure import Certainty, Failure
from stream.observe.instruments import CATALOG, Instruments
from stream.observe.last_minute import LastMinute
from stream.observe.tenant_labels import OTHER, TenantLabels
from tests.unit.doubles import Clock, incoming, message

SEEN = datetime(2026, 11, 24, 12, tzinfo=UTC)
ACCEPTED = Accepted(Wamid("wamid.A"), "16505551234", "accepted", 200)
SENT = Acknowledge(Sent(ACCEPTED, 0.2))
DENIED = Failure.of("INVALID_PHONE", "no such number")
AWAY = Failure.of("NETWORK_ERROR", "no answer came", Certainty.UNKNOWN)


class Counted:
    """Metrics that have counted decisions, read as Prometheus reads them."""

    def __init__(self, *decisions: Decision, outbound: Message | None = None, tenants: int = 100) -> None:
        self.instruments = Instruments(tenants=tenants)
        self.metrics = DeliveryMetrics(self.instruments, now=lambda: SEEN.timestamp() + 3)
        for decision in decisions:
            self.metrics.settled(Delivery(incoming(), History(SEEN), outbound or message()), decision)

    def samples(self) -> dict[str, dict[tuple[str, ...], float]]:
        order = {metric.name: metric.labels for metric in CATALOG}
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(self.instruments.render().decode()):
            for sample in family.samples:
                names = order.get(sample.name, tuple(sample.labels))
                found.setdefault(sample.name, {})[tuple(sample.labels[name] for name in names)] = sample.value
        return found


@pytest.mark.parametrize(
    ("decision", "status"),
    [
        (SENT, "delivered"),
        (Acknowledge(Duplicate(ACCEPTED)), "duplicate"),
        (RetryAfter(AWAY, 1.0, History(SEEN)), "retry"),
        (Postpone(1.0, History(SEEN)), "waiting"),
        (Move("whatsapp-lane-6"), "moved"),
        (DeadLetter(DENIED, 1), "dead_lettered"),
    ],
)
def test_each_message_is_consumed_once_with_what_became_of_it(decision: Decision, status: str) -> None:
    assert Counted(decision).samples()["messages_consumed_total"] == {("acme", status): 1.0}


def test_a_dead_letter_is_counted_with_its_row_metas_code_and_whether_it_was_worth_retrying() -> None:
    coded = Failure(DENIED.rule, "", code=131000)
    samples = Counted(DeadLetter(DENIED, 1), DeadLetter(coded, 1), DeadLetter(AWAY, 4, exhausted=True)).samples()
    assert samples["messages_failed_total"] == {
        ("acme", "INVALID_PHONE", "", "false"): 1.0,
        ("acme", "INVALID_PHONE", "131000", "false"): 1.0,
        ("acme", "NETWORK_ERROR", "", "true"): 1.0,
    }
    assert samples["messages_unknown_outcome_total"] == {("dead letter",): 1.0}


def test_a_delivery_shows_its_duration_and_its_age_since_it_was_published() -> None:
    samples = Counted(SENT, outbound=message(timestamp=SEEN.isoformat())).samples()
    assert samples["message_age_seconds_sum"] == {(): pytest.approx(3.0)}
    assert samples["message_processing_duration_seconds_sum"] == {(): pytest.approx(0.2)}
    assert samples["messages_delivered_total"] == {("acme",): 1.0}


def test_requests_credentials_and_lost_events_are_counted() -> None:
    counted = Counted()
    counted.metrics.requested("acme", 200, 0.1)
    counted.metrics.requested("acme", None, 10)
    counted.metrics.credentials(0.001, cached=True)
    counted.metrics.no_credentials("TENANT_NOT_FOUND")
    counted.metrics.event_lost()
    counted.metrics.not_settled(None)
    counted.metrics.settled(Delivery(incoming(), History(SEEN)), LeaveToBroker("no copy"))
    samples = counted.samples()
    assert samples["meta_api_requests_total"] == {("acme", "200"): 1.0, ("acme", "none"): 1.0}
    assert samples["meta_api_request_duration_seconds_count"] == {(): 2.0}
    assert samples["credential_fetch_duration_seconds_count"] == {("true",): 1.0, ("false",): 0.0}
    assert samples["credential_fetch_failures_total"] == {("TENANT_NOT_FOUND",): 1.0}
    assert samples["events_lost_total"] == {(): 1.0}
    assert samples["messages_consumed_total"] == {("", "not_settled"): 1.0, ("", "dead_lettered"): 1.0}


def test_nothing_is_exposed_that_is_not_declared() -> None:
    declared = {metric.name.removesuffix("_total") for metric in CATALOG}
    families = text_string_to_metric_families(Counted(SENT, DeadLetter(AWAY, 1)).instruments.render().decode())
    assert {each.name for each in families if not each.name.startswith("process_")} <= declared


def test_an_undeclared_metric_cannot_be_had() -> None:
    with pytest.raises(KeyError):
        Instruments().counter("messages_invented_total")


def test_each_metric_is_declared_once_and_fully() -> None:
    assert len({metric.name for metric in CATALOG}) == len(CATALOG)
    for metric in CATALOG:
        assert metric.unit
        assert metric.meaning.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.buckets) == (metric.kind == "histogram")


def test_ten_thousand_tenants_do_not_become_ten_thousand_series() -> None:
    counted = Counted(tenants=20)
    for number in range(10_000):
        outbound = message(tenantId=f"tenant-{number}")
        counted.metrics.settled(Delivery(incoming(), History(SEEN), outbound), SENT)
    delivered = counted.samples()["messages_delivered_total"]
    assert len(delivered) == 21
    assert delivered[(OTHER,)] == 9_980.0


async def test_the_queues_depths_are_shown_while_the_broker_tells_them() -> None:
    instruments = Instruments()
    told: list[dict[str, int] | None] = [{"intake": 3, "failed": 0}, None]

    async def depths() -> dict[str, int] | None:
        return told.pop(0)

    assert b'queue_messages{queue="intake"} 3.0' in await instruments.scrape(depths)
    assert b"queue_messages{" not in await instruments.scrape(depths), "an old number would be wrong"


def test_a_gauge_asks_for_its_value_whenever_the_metrics_are_read() -> None:
    instruments, value = Instruments(), [0.0]
    instruments.show("redis_away", lambda: value[0])
    assert b"\nredis_away 0.0" in instruments.render()
    value[0] = 1.0
    assert b"\nredis_away 1.0" in instruments.render()


def test_a_busier_tenant_takes_the_place_of_a_quiet_one() -> None:
    clock, demoted = Clock(), list[str]()
    labels = TenantLabels(2, demoted=demoted.append, monotonic=clock)
    assert [labels.label(tenant) for tenant in ("quiet", "busy", "late", "late", "late", "busy")] == [
        "quiet", "busy", OTHER, OTHER, OTHER, "busy"
    ]  # fmt: skip
    labels.rank()
    assert labels.label("late") == OTHER, "ranked at most once a minute"
    clock.now += 61
    labels.rank()
    assert (demoted, labels.label("late"), labels.label("quiet")) == (["quiet"], "late", OTHER)


def test_tenants_of_about_the_same_size_do_not_change_places() -> None:
    clock, demoted = Clock(), list[str]()
    labels = TenantLabels(1, demoted=demoted.append, monotonic=clock)
    for tenant in ["first", "second"] * 50 + ["second"] * 10:
        labels.label(tenant)
    clock.now += 61
    labels.rank()
    assert demoted == []


def test_a_demoted_tenants_series_are_removed() -> None:
    counted = Counted(SENT, tenants=1)
    assert ("acme",) in counted.samples()["messages_delivered_total"]
    counted.instruments._forget("acme")
    assert "messages_delivered_total" not in counted.samples()


@pytest.mark.parametrize(
    ("timestamp", "amqp", "expected"),
    [
        ("2026-11-24T12:00:00+00:00", None, SEEN.timestamp()),
        ("2026-11-24T12:00:00", None, SEEN.timestamp()),
        (SEEN.timestamp(), None, SEEN.timestamp()),
        (SEEN.timestamp() * 1000, None, SEEN.timestamp()),
        (None, SEEN, SEEN.timestamp()),
        ("yesterday", SEEN, SEEN.timestamp()),
        (True, None, 5.0),
        (["odd"], None, 5.0),
        (-1, None, 5.0),
        (1e30, None, 5.0),
        ("0001-01-01T00:00:00+14:00", None, -62135647200.0),
        ("9999-12-31T23:59:59-14:00", None, 253402351199.0),
    ],
)
def test_the_time_of_publishing_is_read_where_it_can_be(timestamp: Any, amqp: datetime | None, expected: float) -> None:
    delivery = Delivery(
        incoming(timestamp=amqp), History(datetime.fromtimestamp(5.0, UTC)), message(timestamp=timestamp)
    )
    assert delivery.published_at == pytest.approx(expected)


@pytest.mark.parametrize(
    ("decision", "rates"),
    [
        (SENT, (1, 0.0)),
        (Acknowledge(Duplicate(ACCEPTED)), (1, 0.0)),
        (RetryAfter(AWAY, 1.0, History(SEEN)), (1, 1.0)),
        (RetryAfter(Failure.of("RATE_LIMIT", "slow down"), 1.0, History(SEEN)), (1, 1.0)),
        (DeadLetter(DENIED, 1), (1, 1.0)),
        (Postpone(1.0, History(SEEN)), (0, 0.0)),  # no try of its own
        (Move("whatsapp-lane-6"), (0, 0.0)),
    ],
)
def test_a_try_that_failed_counts_as_an_error_whatever_becomes_of_its_message(
    decision: Decision, rates: tuple[float, float]
) -> None:
    tries, failed = Counted(decision).metrics.last_minute.rates()
    assert (tries * 60, failed) == rates


def test_tries_that_could_not_be_settled_count_as_errors() -> None:
    counted = Counted(SENT)
    counted.metrics.not_settled(None)
    counted.metrics.settled(Delivery(incoming(), History(SEEN)), LeaveToBroker("no copy"))
    assert counted.metrics.last_minute.rates() == (3 / 60, 2 / 3)


def test_the_last_minute_forgets_what_is_older() -> None:
    clock = Clock(1000.0)
    last = LastMinute(monotonic=clock)
    assert last.rates() == (0.0, 0.0)
    for failed in (False, False, False, True):
        last.count(failed=failed)
    assert last.rates() == (4 / 60, 0.25)
    clock.now += 59
    last.count(failed=True)
    assert last.rates() == (5 / 60, 0.4)
    clock.now += 1
    assert last.rates() == (1 / 60, 1.0)
