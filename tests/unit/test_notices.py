from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import encode

from stream.contract.events import DeliverySent
from stream.contract.headers import History
from stream.contract.identifiers import TenantId, Wamid
from stream.contract.messages import UNKNOWN_OWNER, Whose
from stream.delivery import notices
from stream.delivery.decision import DeadLetter
from stream.delivery.outcome import Duplicate, Sent
from stream.meta.client import Accepted
from stream.meta.errors import ROWS, ErrorRule
from stream.meta.failure import Certainty, Failure
from tests.unit.doubles import message

TEXT = st.characters(exclude_categories=["Cs"])
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HISTORY = History(NOW - timedelta(minutes=5), 2, {"META_SERVER_ERROR": 2})
FAILURE = replace(
    Failure.of("TEMPLATE_NOT_FOUND", "(#132001) Template does not exist", Certainty.REJECTED),
    http_status=404,
    code=132001,
    subcode=2494073,
    fbtrace_id="Az8or2yhqk",
)


# Fixed: letters that wait, and those of the next release, are of one cause.
FINGERPRINT = "3747cf0074392f6e"


def reason(
    failure: Failure = FAILURE,
    *,
    attempts: int = 3,
    known: bool = True,
    payload: tuple[str, dict[str, Any]] = ("text", {"body": "Hello"}),
) -> dict[str, Any]:
    whose = message(*payload) if known else UNKNOWN_OWNER
    return notices.reason(whose, HISTORY, DeadLetter(failure, attempts), NOW)


def test_a_dead_letter_carries_the_whole_reason() -> None:
    assert reason() == {
        "x-error-type": "TEMPLATE_NOT_FOUND",
        "x-error-code": 132001,
        "x-error-subcode": 2494073,
        "x-http-status": 404,
        "x-error-detail": "(#132001) Template does not exist",
        "x-fbtrace-id": "Az8or2yhqk",
        "x-attempts": 3,
        "x-first-seen": "2026-11-23T11:55:00+00:00",
        "x-failed-at": "2026-11-23T12:00:00+00:00",
        "x-tenant-id": "acme",
        "x-internal-id": "order-4711",
        "x-retryable": False,
        "x-fingerprint": FINGERPRINT,
        "x-replay": "fix-first",
    }


def test_what_is_not_known_is_left_out() -> None:
    assert reason(Failure.of("INVALID_MESSAGE", "body: is not JSON"), attempts=1, known=False).keys() == {
        "x-error-type",
        "x-error-detail",
        "x-attempts",
        "x-first-seen",
        "x-failed-at",
        "x-retryable",
        "x-fingerprint",
        "x-replay",
    }


def test_a_letter_that_is_no_message_names_whose_it_is_where_that_is_known() -> None:
    whose = Whose(TenantId("a b/c"), None)
    headers = notices.reason(whose, HISTORY, DeadLetter(Failure.of("INVALID_MESSAGE", "body: is wrong"), 1), NOW)
    assert headers["x-tenant-id"] == "a b/c"
    assert "x-internal-id" not in headers


def test_a_code_of_zero_is_known() -> None:
    assert reason(replace(FAILURE, code=0))["x-error-code"] == 0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_reason_fits_into_headers_and_says_whether_it_can_be_retried(row: ErrorRule) -> None:
    headers = reason(replace(FAILURE, rule=row))
    assert headers["x-retryable"] == row.retryable
    assert encode.field_table(headers)


def test_a_secret_in_the_detail_is_masked() -> None:
    detail = reason(replace(FAILURE, detail="Bearer EAAGsecret123456 refused"))["x-error-detail"]
    assert "EAAGsecret123456" not in detail
    assert "refused" in detail


def test_a_long_detail_is_cut_so_that_the_reason_always_fits() -> None:
    detail = reason(Failure.of("INTERNAL_ERROR", "ValueError: " + "x" * 200_000))["x-error-detail"]
    assert detail.startswith("ValueError: ")
    assert len(detail) <= 2_000


def test_the_news_of_a_sent_message() -> None:
    accepted = Accepted(Wamid("wamid.A"), "16505551234", "accepted", 200)
    sent = notices.sent(message(correlationId="c-1"), HISTORY, Sent(accepted, 0.12345, sends=2), NOW)
    assert orjson.loads(sent) == {
        "tenantId": "acme",
        "internalId": "order-4711",
        "correlationId": "c-1",
        "phoneNumberId": "100000001",
        "type": "text",
        "wamid": "wamid.A",
        "waId": "16505551234",
        "messageStatus": "accepted",
        "attempts": 4,
        "possiblySentTwice": False,
        "firstSeenAt": "2026-11-23T11:55:00+00:00",
        "sentAt": "2026-11-23T12:00:00+00:00",
        "processMs": 123.5,
    }


def test_the_news_of_a_duplicate_is_that_of_the_first() -> None:
    first = Accepted(Wamid("wamid.first"), None, None, 200)
    sent = DeliverySent.model_validate_json(notices.sent(message(), HISTORY, Duplicate(first), NOW))
    assert (sent.wamid, sent.attempts, sent.process_ms) == ("wamid.first", 3, None)


@pytest.mark.parametrize(("unknown", "after_unknown", "twice"), [(0, False, False), (1, False, True), (0, True, True)])
def test_a_message_that_may_have_been_sent_twice_says_so(unknown: int, *, after_unknown: bool, twice: bool) -> None:
    outcome = Sent(Accepted(Wamid("wamid.A"), None, None, 200), 0.1, after_unknown=after_unknown)
    sent = notices.sent(message(), replace(HISTORY, unknown=unknown), outcome, NOW)
    assert orjson.loads(sent)["possiblySentTwice"] is twice


accepted = st.builds(
    Accepted, st.text(TEXT, min_size=1), st.none() | st.text(TEXT), st.none() | st.text(TEXT), st.just(200)
)
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))]))


@given(
    accepted=accepted,
    process_s=st.floats(0, 1e6),
    correlation=st.none() | st.text(TEXT),
    first_seen=moments,
    duplicate=st.booleans(),
)
def test_the_news_is_the_json_of_the_declared_model(
    accepted: Accepted, process_s: float, correlation: str | None, first_seen: datetime, *, duplicate: bool
) -> None:
    outcome = Duplicate(accepted) if duplicate else Sent(accepted, process_s)
    sent = notices.sent(message(correlationId=correlation), History(first_seen), outcome, NOW)
    model = DeliverySent.model_validate_json(sent)
    assert model.model_dump_json(exclude_none=True).encode() == sent
    assert model.first_seen_at == first_seen.isoformat()
    assert orjson.loads(sent).keys() <= {field.alias for field in DeliverySent.model_fields.values()}


def test_a_dead_letter_counts_the_sends_without_an_answer_and_is_in_doubt() -> None:
    headers = notices.reason(message(), HISTORY, DeadLetter(FAILURE, 3, unknown=2), NOW)
    assert (headers["x-unknown-outcomes"], headers["x-replay"]) == (2, "in-doubt")


def test_an_alert_says_what_happened_and_what_to_do() -> None:
    alert = notices.alert(message("template", {"name": "welcome"}), DeadLetter(FAILURE, 1), NOW)
    assert alert.model_dump() == {
        "tenantId": "acme",
        "internalId": "order-4711",
        "correlationId": None,
        "phoneNumberId": "100000001",
        "type": "template",
        "templateName": "welcome",
        "errorType": "TEMPLATE_NOT_FOUND",
        "errorCode": 132001,
        "errorSubcode": 2494073,
        "httpStatus": 404,
        "scope": "tenant",
        "alert": True,
        "count": 1,
        "circuit": None,
        "circuitId": None,
        "failures": None,
        "since": None,
        "notify": False,
        "meaning": FAILURE.rule.meaning,
        "advice": FAILURE.rule.advice,
        "replay": "fix-first",
        "fingerprint": reason(payload=("template", {"name": "welcome"}))["x-fingerprint"],
        "failedAt": "2026-11-23T12:00:00+00:00",
    }


def test_the_customers_number_and_text_are_in_no_event() -> None:
    outbound = message("text", {"body": "My PIN is 4711"})
    alert = notices.alert(outbound, DeadLetter(FAILURE, 1), NOW).model_dump_json()
    assert "6505551234" not in alert
    assert "PIN" not in alert


def test_an_alert_of_a_status_that_no_server_should_answer_with_is_made() -> None:
    alert = notices.alert(message(), DeadLetter(replace(FAILURE, http_status=999), 1), NOW)
    assert alert.http_status == 999
