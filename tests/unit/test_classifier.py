from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.meta.classifier import MetaErrorClassifier
from stream.meta.errors import ERROR_TABLE, ROWS
from stream.meta.failure import Certainty, Failure

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
CLASSIFIER = MetaErrorClassifier()


def classified(status: int, retry_after: str | None = None, **error: Any) -> Failure:
    headers = httpx.Headers({"Retry-After": retry_after} if retry_after is not None else {})
    return CLASSIFIER.classify(status, orjson.dumps({"error": error}), headers, now=NOW)


@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_130429_is_a_rate_limit_under_any_status(status: int) -> None:
    assert classified(status, code=130429).rule.name == "RATE_LIMIT"


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": 190}, "AUTH_ERROR"),
        (400, {"code": 190, "error_subcode": 463}, "AUTH_ERROR"),
        (500, {"code": 3}, "PERMISSION_DENIED"),
        (500, {"code": 131045}, "PHONE_NOT_REGISTERED"),
        (500, {"code": 133000}, "PHONE_REGISTRATION_FAILED"),
        (500, {"code": 134102}, "MARKETING_UNAVAILABLE"),
        (400, {"code": 0, "message": "(#0) AuthException"}, "AUTH_ERROR"),
        (400, {"code": 2, "is_transient": True}, "META_SERVER_ERROR"),
        (400, {"code": 100, "is_transient": True}, "INVALID_REQUEST"),
    ],
)
def test_the_code_speaks_before_the_status(status: int, error: dict[str, Any], expected: str) -> None:
    assert classified(status, **error).rule.name == expected


@pytest.mark.parametrize("code", [3, 131045, 133000, 134102])
def test_a_500_that_never_heals_is_no_server_error(code: int) -> None:
    assert classified(500, code=code).rule is not ERROR_TABLE["META_SERVER_ERROR"]


WITHOUT_A_KNOWN_CODE = [
    b"",
    b"<html><h1>Bad gateway</h1></html>",
    b"\xff\xfe",
    b"[]",
    b'"error"',
    b'{"error": "text"}',
    b'{"error": {"code": true}}',
    b'{"error": {"code": 987654321}}',
    b"[" * 10_000,
]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, "META_REJECTED"),
        (401, "AUTH_ERROR"),
        (403, "PERMISSION_DENIED"),
        (404, "META_REJECTED"),
        (408, "META_SERVER_ERROR"),
        (429, "RATE_LIMIT"),
        (500, "META_SERVER_ERROR"),
        (502, "META_SERVER_ERROR"),
        (503, "META_SERVER_ERROR"),
        (504, "META_SERVER_ERROR"),
        (599, "META_SERVER_ERROR"),
    ],
)
def test_the_status_speaks_where_no_known_code_does(status: int, expected: str) -> None:
    failures = {body[:40]: CLASSIFIER.classify(status, body) for body in WITHOUT_A_KNOWN_CODE}
    assert {body: failure.rule.name for body, failure in failures.items()} == dict.fromkeys(failures, expected)
    assert {failure.http_status for failure in failures.values()} == {status}


@pytest.mark.parametrize(("hint", "expected"), [(True, "META_SERVER_ERROR"), (False, "META_REJECTED")])
def test_is_transient_decides_for_an_unknown_code(expected: str, *, hint: bool) -> None:
    assert classified(400, code=987654321, is_transient=hint).rule.name == expected


@pytest.mark.parametrize("hint", ["true", 1, None, [True]])
def test_only_a_true_is_transient_counts(hint: object) -> None:
    assert classified(400, code=987654321, is_transient=hint).rule.name == "META_REJECTED"


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        ({"message": "(#100) Invalid", "error_data": {"details": "Too long."}}, "(#100) Invalid: Too long."),
        ({"message": "(#100) Invalid", "error_data": "Too long."}, "(#100) Invalid: Too long."),
        ({"message": "(#100) Invalid", "error_data": {"details": 5}}, "(#100) Invalid"),
        ({"message": "(#100) Invalid", "error_data": [1]}, "(#100) Invalid"),
        ({"message": "(#100) Invalid"}, "(#100) Invalid"),
        ({"message": None}, "HTTP 400"),
    ],
)
def test_the_detail_is_what_meta_said(error: dict[str, Any], detail: str) -> None:
    assert classified(400, code=100, **error).detail == detail


def test_a_long_text_is_cut() -> None:
    assert len(classified(400, code=100, message="x" * 100_000).detail) == 500


def test_a_body_that_is_not_json_is_quoted_in_the_detail() -> None:
    detail = CLASSIFIER.classify(502, b"<h1>Bad gateway</h1>" + b"x" * 10_000).detail
    assert "HTTP 502" in detail
    assert "Bad gateway" in detail
    assert len(detail) < 300


def test_the_trace_id_is_kept_for_metas_support() -> None:
    assert classified(400, code=100, fbtrace_id="Az8or2yhqk").fbtrace_id == "Az8or2yhqk"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("Mon, 23 Nov 2026 12:01:30 GMT", 90.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        (None, None),
        ("Mon, 23 Nov 99999999999 12:01:30 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, seconds: float | None) -> None:
    assert classified(429, retry_after=value, code=4).retry_after_s == seconds


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("code", "error_subcode", "message", "error_data", "is_transient", "fbtrace_id", "type")


@settings(max_examples=50)
@given(status=st.integers(100, 599), error=st.dictionaries(st.sampled_from(FIELDS), json_values) | json_values)
def test_any_error_object_finds_a_row(status: int, error: object) -> None:
    failure = CLASSIFIER.classify(status, orjson.dumps({"error": error}))
    assert failure.rule in ROWS
    assert failure.certainty is Certainty.REJECTED


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_predicates_say_what_the_row_says(row: Any) -> None:
    failure = Failure(row, "detail")
    assert CLASSIFIER.is_retryable(failure) == (row.retry is not None)
    assert CLASSIFIER.is_client_error(failure) == (row.retry is None)
    assert CLASSIFIER.is_auth_error(failure) == (row.name in {"AUTH_ERROR", "PERMISSION_DENIED"})
    assert CLASSIFIER.is_rate_limit_error(failure) == (row.name in {"RATE_LIMIT", "PAIR_RATE_LIMIT"})
    assert CLASSIFIER.should_notify(failure) == (row.alert or row.notify)
