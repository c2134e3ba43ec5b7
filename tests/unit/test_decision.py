from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from stream.contract.headers import History
from stream.contract.identifiers import Wamid
from stream.contract.validity import ALWAYS, Validity
from stream.delivery import decision
from stream.delivery.decision import Acknowledge, DeadLetter, Decision, LeaveToBroker, Postpone, RetryAfter, RetryPolicy
from stream.delivery.outcome import Busy, Duplicate, Failed, NotCopyable, Outcome, Sent
from stream.meta.client import Accepted
from stream.meta.errors import ROWS, Budget, ErrorRule
from stream.meta.failure import DETAIL_LENGTH, Certainty, Failure
from stream.retry import RetryHandler

FIRST_SEEN = datetime(2026, 11, 23, 12, tzinfo=UTC)
POLICY = RetryPolicy(failures=3, throttles=10, backoff=RetryHandler(draw=lambda: 0.0))
UNLIMITED = replace(POLICY, throttles=None)
GIVE_UP = "dead letter"


def decide(
    outcome: Outcome, history: History, policy: RetryPolicy, *, validity: Validity = ALWAYS, now: datetime = FIRST_SEEN
) -> Decision:
    return decision.decide(outcome, history, policy, validity=validity, now=now)


def valid_for(seconds: float) -> Validity:
    return Validity(FIRST_SEEN + timedelta(days=1), FIRST_SEEN + timedelta(seconds=seconds), "expiration")


def decided(
    name: str,
    retries: Mapping[str, int] | None = None,
    *,
    policy: RetryPolicy = POLICY,
    sends: int = 1,
    validity: Validity = ALWAYS,
    **failure: Any,
) -> RetryAfter | DeadLetter:
    history = History(FIRST_SEEN, sum((retries or {}).values()), retries or {})
    failed = Failed(replace(Failure.of(name, "detail"), **failure), sends=sends)
    decision = decide(failed, history, policy, validity=validity)
    assert isinstance(decision, RetryAfter | DeadLetter)
    return decision


def course(name: str, *, policy: RetryPolicy = POLICY, **failure: Any) -> list[float | str]:
    """What happens to a message that fails in the same way every time: its waits, then how it ends."""
    waits: list[float | str] = []
    retries: Mapping[str, int] = {}
    while isinstance(decision := decided(name, retries, policy=policy, **failure), RetryAfter):
        waits.append(decision.delay_s)
        retries = decision.history.retries
    return [*waits, GIVE_UP]


def test_a_sent_message_is_acknowledged() -> None:
    sent = Sent(Accepted(Wamid("wamid.A"), None, None, 200), process_s=0.1)
    assert decide(sent, History(FIRST_SEEN, 3, {"META_SERVER_ERROR": 3}), POLICY) == Acknowledge(sent)


def test_a_message_that_was_sent_before_is_acknowledged() -> None:
    duplicate = Duplicate(Accepted(Wamid("wamid.A"), None, None, 200))
    assert decide(duplicate, History(FIRST_SEEN), POLICY) == Acknowledge(duplicate)


@pytest.mark.parametrize(("left_s", "delay_s"), [(0.3, 0.3), (2.0, 2.0), (30.0, 2.0)])
def test_a_message_that_is_being_sent_waits_a_moment_and_uses_up_nothing(left_s: float, delay_s: float) -> None:
    history = History(FIRST_SEEN, 3, {"META_SERVER_ERROR": 3})
    assert decide(Busy(left_s), history, POLICY) == Postpone(delay_s, history)


@pytest.mark.parametrize("waits_for", ["circuit", "pace"])
@pytest.mark.parametrize(("valid_s", "delay_s"), [(60, 30.0), (10, 10.0)])
def test_a_message_that_traffic_rules_hold_back_waits_at_most_until_its_validity_ends(
    waits_for: Literal["circuit", "pace"], valid_s: int, delay_s: float
) -> None:
    held_back = Busy(30.0, waits_for, "the limit of its number")
    decision = decide(held_back, History(FIRST_SEEN), POLICY, validity=valid_for(valid_s))
    assert decision == Postpone(delay_s, History(FIRST_SEEN), waits_for, "the limit of its number")


@pytest.mark.parametrize("waits_for", ["circuit", "pace"])
def test_a_message_whose_validity_ends_while_traffic_rules_hold_it_back_says_which(
    waits_for: Literal["circuit", "pace"],
) -> None:
    held_back = Busy(30.0, waits_for, "the circuit of its tenant: AUTH_ERROR")
    decision = decide(held_back, History(FIRST_SEEN, 2, unknown=1), POLICY, validity=valid_for(0))
    assert isinstance(decision, DeadLetter)
    assert decision.failure.rule.name == "MESSAGE_EXPIRED"
    assert decision.failure.detail.endswith("it waited for the circuit of its tenant: AUTH_ERROR")
    assert (decision.attempts, decision.unknown) == (2, 1)


def test_what_cannot_be_copied_is_left_to_the_broker() -> None:
    assert decide(NotCopyable("year 10000"), History(FIRST_SEEN), POLICY) == LeaveToBroker("year 10000")


@pytest.mark.parametrize(("waits_for", "delay_s"), [("turn", 2.0), ("backoff", 30.0)])
def test_a_message_whose_time_has_not_come_uses_up_nothing(
    waits_for: Literal["turn", "backoff"], delay_s: float
) -> None:
    assert decide(Busy(30.0, waits_for), History(FIRST_SEEN), POLICY) == Postpone(
        delay_s, History(FIRST_SEEN), waits_for
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("META_SERVER_ERROR", [1, 2, 4, GIVE_UP]),
        ("NETWORK_ERROR", [1, 2, 4, GIVE_UP]),
        ("INTERNAL_ERROR", [1, 2, 4, GIVE_UP]),
        ("RATE_LIMIT", [10, 20, 40, 60, 60, 60, 60, 60, 60, 60, GIVE_UP]),
        ("PAIR_RATE_LIMIT", [1, 4, 16, 64, 256, 300, 300, 300, 300, 300, GIVE_UP]),
        ("ACCOUNT_MAINTENANCE", [15, 30, 60, 60, 60, 60, 60, 60, 60, 60, GIVE_UP]),
        ("TENANT_SERVICE_UNAVAILABLE", [1, 2, 4, 8, 16, 60, 60, 60, 60, 60, GIVE_UP]),
        ("MEDIA_DOWNLOAD_FAILED", [1, GIVE_UP]),
        ("TEMPLATE_SYNCING", [600, 600, GIVE_UP]),
        ("AUTH_ERROR", [GIVE_UP]),
        ("PERMISSION_DENIED", [GIVE_UP]),
        ("INVALID_RESPONSE", [GIVE_UP]),
        ("INVALID_MESSAGE", [GIVE_UP]),
        ("TENANT_NOT_FOUND", [GIVE_UP]),
        ("CREDENTIALS_SUSPENDED", [GIVE_UP]),
        ("CREDENTIALS_INVALID", [GIVE_UP]),
        ("PHONE_NUMBER_NOT_OWNED", [GIVE_UP]),
        ("WINDOW_EXPIRED", [GIVE_UP]),
    ],
)
def test_a_type_has_its_course(name: str, expected: list[float | str]) -> None:
    assert course(name) == expected


@pytest.mark.parametrize("row", [row for row in ROWS if row.retry is None], ids=lambda row: row.name)
def test_what_cannot_be_retried_is_given_up_at_once_and_is_not_exhausted(row: ErrorRule) -> None:
    answer: dict[str, Any] = {"http_status": 400}  # Meta's, whatever the row
    expected = DeadLetter(replace(Failure.of(row.name, "detail"), **answer), attempts=1, exhausted=False)
    assert decided(row.name, **answer) == expected


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_course_ends_by_count_if_there_is_a_count(row: ErrorRule) -> None:
    assert len(course(row.name)) <= 11


@pytest.mark.parametrize("name", ["RATE_LIMIT", "PAIR_RATE_LIMIT", "ACCOUNT_MAINTENANCE", "TENANT_SERVICE_UNAVAILABLE"])
def test_without_a_count_only_its_validity_ends_a_throttled_message(name: str) -> None:
    assert isinstance(decided(name, {name: 1_000}, policy=UNLIMITED), RetryAfter)
    late = decided(name, {name: 1_000}, policy=UNLIMITED, validity=valid_for(10))
    assert (late.failure.rule.name, isinstance(late, DeadLetter)) == ("MESSAGE_EXPIRED", True)


def test_without_a_count_for_throttles_failures_still_have_theirs() -> None:
    assert course("META_SERVER_ERROR", policy=UNLIMITED) == [1, 2, 4, GIVE_UP]


@pytest.mark.parametrize(("left_s", "waits"), [(10.26, True), (10.25, False), (10.2, False), (0, False), (-60, False)])
def test_no_wait_begins_that_would_end_with_the_validity_or_after_it(left_s: float, *, waits: bool) -> None:
    # 10.1 s, which the delay levels round up to 10.25
    policy = replace(POLICY, backoff=RetryHandler(draw=lambda: 0.1))
    assert isinstance(decided("RATE_LIMIT", policy=policy, validity=valid_for(left_s)), RetryAfter) is waits


def test_what_is_known_of_the_last_failure_goes_with_a_message_whose_time_is_up() -> None:
    given_up = decided(
        "NETWORK_ERROR", validity=valid_for(1), certainty=Certainty.UNKNOWN, http_status=400, code=4, fbtrace_id="A"
    )
    assert isinstance(given_up, DeadLetter)
    failure = given_up.failure
    assert (failure.http_status, failure.code, failure.fbtrace_id) == (400, 4, "A")
    assert failure.detail == "valid until 2026-11-23T12:00:01+00:00 (expiration); last failure: NETWORK_ERROR: detail"
    assert (given_up.unknown, failure.certainty, given_up.exhausted) == (1, Certainty.UNKNOWN, False)


@pytest.mark.parametrize(
    ("refused", "last_error", "words"),
    [
        ("", "", ""),
        ("", "RATE_LIMIT: slower", "; last failure: RATE_LIMIT: slower"),
        ("AUTH_ERROR: expired", "RATE_LIMIT: slower", "; last failure: AUTH_ERROR: expired"),
    ],
)
def test_a_message_that_was_too_late_to_send_names_what_failed_before(
    refused: str, last_error: str, words: str
) -> None:
    failed, history = Failed(Failure.of("MESSAGE_EXPIRED", refused)), History(FIRST_SEEN, last_error=last_error)
    given_up = decide(failed, history, POLICY, validity=valid_for(0))
    assert isinstance(given_up, DeadLetter)
    assert given_up.failure.detail == f"valid until 2026-11-23T12:00:00+00:00 (expiration){words}"


def test_metas_own_word_that_a_message_expired_stays_its_own() -> None:
    theirs = decided("MESSAGE_EXPIRED", http_status=400, code=131043)
    assert (theirs.failure.detail, isinstance(theirs, DeadLetter)) == ("detail", True)


def test_a_long_reason_of_an_expired_message_still_fits_into_a_header() -> None:
    assert len(decided("RATE_LIMIT", validity=valid_for(0), detail="x" * DETAIL_LENGTH).failure.detail) == DETAIL_LENGTH


def test_retries_that_are_used_up_are_the_reason_also_when_the_time_is_up_too() -> None:
    given_up = decided("META_SERVER_ERROR", {"META_SERVER_ERROR": 3}, validity=valid_for(0))
    assert given_up.failure.rule.name == "META_SERVER_ERROR"


def test_a_message_whose_time_ends_while_another_try_sends_it_waits_for_that_trys_end() -> None:
    history = History(FIRST_SEEN)
    assert decide(Busy(1.5), history, POLICY, validity=valid_for(0)) == Postpone(1.5, history)


@pytest.mark.parametrize("name", ["RATE_LIMIT", "PAIR_RATE_LIMIT", "TENANT_SERVICE_UNAVAILABLE"])
def test_throttles_and_the_tenant_service_do_not_use_up_the_retries_for_failures(name: str) -> None:
    decision = decided("META_SERVER_ERROR", {name: 10})
    assert isinstance(decision, RetryAfter)
    assert decision.delay_s == 1


def test_failures_do_not_use_up_the_retries_for_throttles() -> None:
    decision = decided("RATE_LIMIT", {"META_SERVER_ERROR": 3})
    assert isinstance(decision, RetryAfter)
    assert decision.delay_s == 10


def test_types_of_one_budget_share_it() -> None:
    spent = decided("META_SERVER_ERROR", {"NETWORK_ERROR": 2, "MEDIA_DOWNLOAD_FAILED": 1})
    assert isinstance(spent, DeadLetter)
    assert spent.exhausted
    assert isinstance(decided("RATE_LIMIT", {"PAIR_RATE_LIMIT": 9, "ACCOUNT_MAINTENANCE": 1}), DeadLetter)


def test_a_type_with_a_limit_of_its_own_still_needs_room_in_its_budget() -> None:
    assert isinstance(decided("MEDIA_DOWNLOAD_FAILED", {"META_SERVER_ERROR": 3}), DeadLetter)


def test_a_type_that_is_no_longer_in_the_table_counts_for_nothing() -> None:
    assert isinstance(decided("META_SERVER_ERROR", {"RETIRED_ERROR": 99}), RetryAfter)


@pytest.mark.parametrize(
    ("failures", "throttles", "name", "retries"),
    [
        (0, 10, "META_SERVER_ERROR", 0),
        (5, 10, "META_SERVER_ERROR", 5),
        (3, 0, "RATE_LIMIT", 0),
        (3, 2, "RATE_LIMIT", 2),
        (3, 2, "TENANT_SERVICE_UNAVAILABLE", 2),
    ],
)
def test_the_limits_are_settings(failures: int, throttles: int, name: str, retries: int) -> None:
    policy = replace(POLICY, failures=failures, throttles=throttles)
    assert len(course(name, policy=policy)) == retries + 1


def test_each_budget_has_its_limit() -> None:
    assert [POLICY.limit(budget) for budget in (Budget.FAILURE, Budget.THROTTLE, Budget.TENANT_SERVICE)] == [3, 10, 10]


def test_the_first_delay_is_a_setting_where_the_type_has_none_of_its_own() -> None:
    policy = replace(POLICY, backoff=RetryHandler(base_delay_s=3, draw=lambda: 0.0))
    assert course("META_SERVER_ERROR", policy=policy) == [3, 6, 12, GIVE_UP]
    assert course("RATE_LIMIT", policy=policy)[:2] == [10, 20]


@pytest.mark.parametrize(
    ("retry_after_s", "delay_s"), [(None, 10), (0.0, 10), (5.0, 10), (45.0, 45), (300.0, 300), (86_400.0, 300)]
)
def test_metas_retry_after_is_kept_between_the_computed_delay_and_five_minutes(
    retry_after_s: float | None, delay_s: float
) -> None:
    decision = decided("RATE_LIMIT", retry_after_s=retry_after_s)
    assert isinstance(decision, RetryAfter)
    assert decision.delay_s == delay_s


def test_a_retry_after_does_not_save_what_cannot_be_retried() -> None:
    assert isinstance(decided("WINDOW_EXPIRED", retry_after_s=5.0), DeadLetter)


def test_a_waiting_message_carries_its_history() -> None:
    decision = decided("META_SERVER_ERROR", {"RATE_LIMIT": 2})
    assert isinstance(decision, RetryAfter)
    expected = History(FIRST_SEEN, 3, {"RATE_LIMIT": 2, "META_SERVER_ERROR": 1}, last_error="META_SERVER_ERROR: detail")
    assert decision.history == expected


def test_the_last_error_that_waits_with_a_message_holds_no_secret_and_no_number() -> None:
    decision = decided("RATE_LIMIT", detail="slow down +16505551234, token EAAGsecretsecret")
    assert isinstance(decision, RetryAfter)
    assert decision.history.last_error == "RATE_LIMIT: slow down ***1234, token ***"


@pytest.mark.parametrize(("sends", "attempts"), [(0, 4), (1, 4), (2, 5)])
def test_attempts_count_requests_and_at_least_one_a_try(sends: int, attempts: int) -> None:
    retries = {"META_SERVER_ERROR": 3}
    given_up = decided("META_SERVER_ERROR", retries, sends=sends)
    assert isinstance(given_up, DeadLetter)
    assert given_up.attempts == attempts


def test_a_refused_token_is_exhausted_because_the_try_itself_has_sent_twice() -> None:
    decision = decided("AUTH_ERROR", sends=2)
    assert decision == DeadLetter(Failure.of("AUTH_ERROR", "detail"), attempts=2, exhausted=True)


@pytest.mark.parametrize(
    ("history", "after_unknown", "certainty", "total"),
    [(0, False, Certainty.UNKNOWN, 1), (1, True, Certainty.UNKNOWN, 2), (0, True, Certainty.REJECTED, 1)],
)
def test_sends_without_an_answer_are_counted_also_when_another_replica_died_in_one(
    history: int, *, after_unknown: bool, certainty: Certainty, total: int
) -> None:
    failure = replace(Failure.of("META_SERVER_ERROR", "x"), certainty=certainty)
    before = History(first_seen=datetime(2026, 1, 1, tzinfo=UTC), unknown=history)
    policy = RetryPolicy(failures=3, throttles=10, backoff=RetryHandler(draw=lambda: 0.0))
    decision = decide(Failed(failure, after_unknown=after_unknown), before, policy)
    assert isinstance(decision, RetryAfter)
    assert decision.history.unknown == total


HOLD = replace(POLICY, hold=True)


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.circuit in decision.HELD])
def test_where_messages_are_held_an_error_of_the_tenant_or_its_number_waits_for_the_circuit(name: str) -> None:
    history = History(FIRST_SEEN, 4, {"META_SERVER_ERROR": 1}, unknown=1)
    failed = Failed(Failure.of(name, "detail"), sends=2, wait_s=65.0)
    held = decide(failed, history, HOLD)
    assert isinstance(held, RetryAfter)
    assert (held.delay_s, held.history.attempts, held.history.retries) == (65.0, 6, history.retries)
    assert (held.history.unknown, held.history.last_error) == (1, f"{name}: detail")


def test_what_is_held_ends_with_its_validity() -> None:
    failed = Failed(Failure.of("AUTH_ERROR", "detail"), sends=1, wait_s=65.0)
    held = decide(failed, History(FIRST_SEEN), HOLD, validity=valid_for(60))
    assert isinstance(held, RetryAfter)
    assert held.delay_s == 60  # a new token may come before
    ended = decide(failed, History(FIRST_SEEN), HOLD, validity=valid_for(0))
    assert isinstance(ended, DeadLetter)
    assert ended.failure.rule.name == "MESSAGE_EXPIRED"
    assert "AUTH_ERROR: detail" in ended.failure.detail


def test_what_is_held_while_redis_is_away_waits_for_its_backoff() -> None:
    held = decide(Failed(Failure.of("AUTH_ERROR", "detail"), sends=1), History(FIRST_SEEN, 3), HOLD)
    assert isinstance(held, RetryAfter)
    assert held.delay_s == 8.0


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.circuit not in decision.HELD])
def test_holding_changes_nothing_for_other_errors(name: str) -> None:
    assert decided(name, policy=HOLD) == decided(name, policy=POLICY)
