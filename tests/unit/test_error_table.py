from __future__ import annotations

from collections import Counter

import pytest

from stream.meta.errors import (
    BY_CODE,
    BY_STATUS,
    BY_SUBCODE,
    ERROR_TABLE,
    ONCE,
    ROWS,
    Budget,
    ErrorRule,
    RetryRule,
)


@pytest.mark.parametrize(
    ("name", "statuses", "codes"),
    [
        ("META_SERVER_ERROR", (500, 502, 503, 504), ()),
        ("AUTH_ERROR", (401,), (190,)),
        ("RATE_LIMIT", (429,), (4,)),
        ("MEDIA_DOWNLOAD_FAILED", (), (2388005,)),
        ("INVALID_PHONE", (), (2388003,)),
        ("TEMPLATE_NOT_FOUND", (), (2388001,)),
        ("TEMPLATE_PARAMS_MISMATCH", (), (2388002,)),
        ("RECIPIENT_NOT_ON_WHATSAPP", (), (2388009,)),
        ("WINDOW_EXPIRED", (), (131047,)),
        ("PHONE_NOT_REGISTERED", (), (2388054,)),
    ],
)
def test_a_type_owns_the_statuses_and_codes_that_were_agreed(
    name: str, statuses: tuple[int, ...], codes: tuple[int, ...]
) -> None:
    assert {BY_STATUS[status].name for status in statuses} | {BY_CODE[code].name for code in codes} == {name}


@pytest.mark.parametrize(
    ("name", "retry"),
    [
        ("META_SERVER_ERROR", RetryRule()),
        ("NETWORK_ERROR", RetryRule()),
        ("AUTH_ERROR", ONCE),
        ("RATE_LIMIT", RetryRule(Budget.THROTTLE, base_s=10.0)),
        ("MEDIA_DOWNLOAD_FAILED", ONCE),
        ("INVALID_PHONE", None),
        ("TEMPLATE_NOT_FOUND", None),
        ("TEMPLATE_PARAMS_MISMATCH", None),
        ("RECIPIENT_NOT_ON_WHATSAPP", None),
        ("WINDOW_EXPIRED", None),
        ("PHONE_NOT_REGISTERED", None),
    ],
)
def test_a_type_is_retried_as_agreed(name: str, retry: RetryRule | None) -> None:
    assert ERROR_TABLE[name].retry == retry


def test_once_means_one_retry_out_of_the_failure_budget() -> None:
    assert (ONCE.limit, ONCE.budget) == (1, Budget.FAILURE)


@pytest.mark.parametrize(
    ("name", "alert", "notify"),
    [
        ("META_SERVER_ERROR", False, False),
        ("NETWORK_ERROR", False, False),
        ("RATE_LIMIT", False, False),
        ("MEDIA_DOWNLOAD_FAILED", False, False),
        ("INVALID_PHONE", False, False),
        ("TEMPLATE_PARAMS_MISMATCH", False, False),
        ("RECIPIENT_NOT_ON_WHATSAPP", False, False),
        ("TEMPLATE_NOT_FOUND", True, False),
        ("PHONE_NOT_REGISTERED", True, False),
        ("WINDOW_EXPIRED", False, True),
    ],
)
def test_a_type_is_reported_to_whom_it_was_agreed(name: str, *, alert: bool, notify: bool) -> None:
    rule = ERROR_TABLE[name]
    assert (rule.alert, rule.notify, rule.reported) == (alert, notify, alert or notify)


def test_only_token_and_permission_errors_drop_the_cached_credentials() -> None:
    assert {row.name for row in ROWS if row.invalidate_credentials} == {"AUTH_ERROR", "PERMISSION_DENIED"}


def test_a_row_that_drops_credentials_is_retried_once() -> None:
    assert all(row.retry == ONCE for row in ROWS if row.invalidate_credentials)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_says_what_it_means_and_what_to_do(row: ErrorRule) -> None:
    assert row.meaning.endswith(".")
    assert row.advice.endswith(".")
    assert min(len(row.meaning), len(row.advice)) > 15


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_name_is_fit_for_a_header_and_a_metric_label(row: ErrorRule) -> None:
    assert row.name.replace("_", "").isalpha()
    assert row.name.isupper()


def test_no_name_stands_in_two_rows() -> None:
    assert len(ERROR_TABLE) == len(ROWS)


def test_no_code_stands_in_two_rows() -> None:
    counted = Counter(code for row in ROWS for code in row.codes)
    assert [code for code, times in counted.items() if times > 1] == []


def test_no_subcode_has_two_rows() -> None:
    rows = [(number, row.name) for row in ROWS for number in (*row.codes, *row.subcodes) if number in BY_SUBCODE]
    assert {(number, name) for number, name in rows if BY_SUBCODE[number].name != name} == set()


def test_only_throttles_use_the_throttle_budget() -> None:
    throttles = {row.name for row in ROWS if row.retry and row.retry.budget is Budget.THROTTLE}
    assert throttles == {"RATE_LIMIT", "PAIR_RATE_LIMIT", "ACCOUNT_MAINTENANCE"}


def test_a_pair_limit_waits_four_times_longer_each_time_and_at_most_five_minutes() -> None:
    retry = ERROR_TABLE["PAIR_RATE_LIMIT"].retry
    assert retry is not None
    assert (retry.base_s, retry.growth, retry.cap_s) == (1.0, 4.0, 300.0)


def test_an_answer_without_a_message_id_is_never_sent_again_by_itself() -> None:
    rule = ERROR_TABLE["INVALID_RESPONSE"]
    assert not rule.retryable
    assert rule.alert
