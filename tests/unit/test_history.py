from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import encode

from stream.contract.headers import (
    ATTEMPT,
    FIRST_SEEN,
    LAST_ERROR,
    LAST_ERROR_LENGTH,
    MOST_ATTEMPTS,
    RETRIES,
    History,
    Instructions,
)

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=2)


def test_a_message_without_headers_is_seen_for_the_first_time() -> None:
    assert History.read({}, NOW) == History(first_seen=NOW, attempts=0, retries={})


def test_a_history_survives_its_way_through_the_broker() -> None:
    history = History(EARLIER, 5, {"META_SERVER_ERROR": 2, "RATE_LIMIT": 3}, 1, "RATE_LIMIT: slower")
    assert History.read(history.headers(), NOW) == history


def test_a_retry_counts_its_tries_and_its_type() -> None:
    history = History(EARLIER).after("AUTH_ERROR", 2).after("META_SERVER_ERROR", 1).after("META_SERVER_ERROR", 1)
    assert history == History(EARLIER, 4, {"AUTH_ERROR": 1, "META_SERVER_ERROR": 2}, last_error="META_SERVER_ERROR: ")


def test_a_history_is_not_changed_by_the_next() -> None:
    history = History(EARLIER, 1, {"RATE_LIMIT": 1})
    history.after("RATE_LIMIT", 1)
    assert history == History(EARLIER, 1, {"RATE_LIMIT": 1})


@pytest.mark.parametrize("value", [None, True, -1, "3", 1.5, [], {}, b"3"])
def test_an_attempt_that_is_no_count_is_none_yet(value: object) -> None:
    assert History.read({ATTEMPT: value, RETRIES: {"RATE_LIMIT": value}}, NOW).attempts == 0
    assert History.read({RETRIES: {"RATE_LIMIT": value}}, NOW).retries == {"RATE_LIMIT": 0}


@pytest.mark.parametrize("value", [MOST_ATTEMPTS + 1, 2**31, 2**63 - 1])
def test_a_count_stays_small_whatever_a_publisher_writes(value: int) -> None:
    history = History.read({ATTEMPT: value, RETRIES: {"RATE_LIMIT": value}}, NOW)
    assert (history.attempts, history.retries) == (MOST_ATTEMPTS, {"RATE_LIMIT": MOST_ATTEMPTS})


@pytest.mark.parametrize("name", ["", "r" * 129, "+16505551234", "rate_limit", "RATE LIMIT", b"\xff"])
def test_a_retry_of_what_is_no_error_type_is_forgotten(name: Any) -> None:
    assert History.read({RETRIES: {name: 1, "RATE_LIMIT": 2}}, NOW).retries == {"RATE_LIMIT": 2}


@pytest.mark.parametrize("value", [None, True, "RATE_LIMIT", 3, [1], b"x"])
def test_retries_that_are_no_table_are_none_yet(value: object) -> None:
    assert History.read({RETRIES: value}, NOW).retries == {}


@pytest.mark.parametrize("value", [None, 5, "", "yesterday", "2026-13-01", b"2026-11-23", [], {}])
def test_a_first_sight_that_is_no_time_is_now(value: object) -> None:
    assert History.read({FIRST_SEEN: value}, NOW).first_seen == NOW


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-23T10:00:00+00:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23T10:00:00Z", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23T10:00:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        ("2026-11-23T15:30:00+05:30", datetime(2026, 11, 23, 10, tzinfo=UTC)),
    ],
)
def test_a_first_sight_without_a_zone_is_in_utc(value: str, moment: datetime) -> None:
    assert History.read({FIRST_SEEN: value}, NOW).first_seen == moment


def test_a_first_sight_in_the_future_is_now() -> None:
    assert History.read({FIRST_SEEN: "9999-12-31T23:59:59-23:59"}, NOW).first_seen == NOW


def test_a_last_error_stays_short_whoever_writes_it() -> None:
    long = History.read({LAST_ERROR: "x" * 10_000}, NOW).after("RATE_LIMIT", 1, detail="y" * 10_000)
    assert len(History.read({LAST_ERROR: "x" * 10_000}, NOW).last_error) == LAST_ERROR_LENGTH
    assert len(long.last_error) == LAST_ERROR_LENGTH


field_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=20)
    | st.datetimes(timezones=st.just(UTC))
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.just(Decimal(1)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=6,
)


@given(headers=st.dictionaries(st.sampled_from([ATTEMPT, RETRIES, FIRST_SEEN, LAST_ERROR, "x-death"]), field_values))
def test_no_header_stops_a_message_and_what_is_written_can_be_encoded(headers: dict[str, Any]) -> None:
    history = History.read(headers, NOW)
    later = history.after("META_SERVER_ERROR", 1)
    assert 0 <= history.attempts < later.attempts <= MOST_ATTEMPTS + 1
    assert encode.field_table(later.headers())
    assert History.read(later.headers(), NOW).first_seen == history.first_seen


@given(headers=st.dictionaries(st.sampled_from(["x-resend", "x-on-unknown-outcome"]), field_values))
def test_an_instruction_that_makes_no_sense_asks_for_nothing(headers: dict[str, Any]) -> None:
    asked = Instructions.read(headers)
    assert asked.resend is None or asked.resend == str(headers["x-resend"])
    assert asked.on_unknown is None


def test_an_instruction_is_read() -> None:
    asked = Instructions.read({"x-resend": "ticket-7", "x-on-unknown-outcome": "dead-letter"})
    assert (asked.resend, asked.on_unknown, asked.needs_ledger) == ("ticket-7", "dead-letter", False)
    assert Instructions.read({"x-replay-job": "20261128-091500-4f2a"}).needs_ledger
