"""Dead letters as operators see them: read, classified, chosen, and put together by cause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from stream.contract.replay import Replay
from stream.operations.dead_letters.filters import Filter, age
from stream.operations.dead_letters.groups import Groups
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.reading import Found, read_letter
from tests.scene import text_message

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BODY = orjson.dumps(text_message("16505551234", "acme", "order-1"))
WRITTEN: dict[str, Any] = {
    "x-error-type": "AUTH_ERROR",
    "x-error-code": 190,
    "x-error-subcode": 463,
    "x-error-detail": "the token has expired",
    "x-attempts": 2,
    "x-first-seen": "2026-11-23T11:00:00+00:00",
    "x-failed-at": "2026-11-23T11:01:00+00:00",
    "x-tenant-id": "acme",
    "x-internal-id": "order-1",
    "x-fingerprint": "00000000deadbeef",
    "x-replay": "safe",
}


def letter(body: bytes = BODY, sent: datetime | None = None, **headers: Any) -> Letter:
    """A letter that the worker wrote, with other headers; one that is `None` is left out."""
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    merged = {name: value for name, value in {**WRITTEN, **changed}.items() if value is not None}
    return read_letter(Found(body, merged, sent), now=NOW, max_age=timedelta(days=1))


def moved(reason: str, **entry: Any) -> Letter:
    """A letter that RabbitMQ moved itself."""
    death = {"queue": "outbound-processed", "reason": reason, "time": datetime(2026, 11, 23, 11, tzinfo=UTC), **entry}
    return read_letter(Found(BODY, {"x-death": [death]}), now=NOW, max_age=timedelta(days=1))


def test_what_the_worker_wrote_counts() -> None:
    assert letter().to_json() == {
        "id": letter().id,
        "fingerprint": "00000000deadbeef",
        "errorType": "AUTH_ERROR",
        "code": 190,
        "subcode": 463,
        "detail": "the token has expired",
        "tenantId": "acme",
        "internalId": "order-1",
        "phoneNumberId": "100000001",
        "templateName": None,
        "failedAt": "2026-11-23T11:01:00+00:00",
        "attempts": 2,
        "replay": "safe",
        "replays": 0,
    }


def test_a_letters_id_is_its_own_and_stays() -> None:
    assert letter(x_delivery_count=7, x_acquired_count=8).id == letter().id
    assert letter(x_death=[{"a": 1, "b": NOW}]).id == letter(x_death=[{"b": NOW, "a": 1}]).id
    assert letter(x_resend="r1").id != letter(x_resend="r2").id
    assert len({letter().id, letter(b"{}").id, letter(x_failed_at="2026-11-23T11:02:00+00:00").id}) == 3


def test_a_letter_of_an_earlier_release_is_classified_by_the_table() -> None:
    old = letter(x_fingerprint=None, x_replay=None)
    assert old.replay is Replay.SAFE
    assert len(old.fingerprint) == 16
    assert letter(x_fingerprint=None, x_error_detail="another").fingerprint != old.fingerprint
    assert letter(x_replay=None, x_unknown_outcomes=1).replay is Replay.IN_DOUBT
    assert letter(x_replay=None, x_error_type="LATER_TYPE").replay is Replay.FIX_FIRST
    assert letter(x_replay=None, x_error_type="NETWORK_ERROR", x_error_detail="no answer came: x").replay == "in-doubt"


def test_a_letter_that_rabbitmq_moved_is_classified_when_it_is_read() -> None:
    expired = moved("expired")
    assert (expired.error_type, expired.replay, expired.tenant_id) == ("MESSAGE_EXPIRED", Replay.POINTLESS, "acme")
    assert expired.failed_at == datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert (moved("delivery_limit").error_type, moved("delivery_limit").replay) == ("POISON", Replay.IN_DOUBT)
    assert (moved("rejected").error_type, moved("rejected").replay) == ("INVALID_MESSAGE", Replay.IN_DOUBT)
    assert read_letter(Found(b"\x00", {}), now=NOW, max_age=timedelta(days=1)).error_type == "INVALID_MESSAGE"


def test_the_body_of_a_letter_that_ends_processes_is_left_alone() -> None:
    assert letter(x_error_type="POISON").phone_number_id is None


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b"\xff", b'{"metadata": 1, "wabaPayload": []}', b"[" * 5000, b"x" * 1_100_000]
)
def test_any_body_can_be_read(body: bytes) -> None:
    assert letter(body).tenant_id == "acme"


@pytest.mark.parametrize(
    ("headers", "expired"),
    [
        ({}, False),
        ({"x_first_seen": "2026-11-22T11:59:00+00:00"}, True),
        ({"x_original_expiration": "3600000"}, True),
        ({"x_original_expiration": "+3700000"}, False),
        ({"x_original_expiration": "9" * 30}, False),
        ({"x_original_expiration": "soon"}, False),
        ({"x_original_expiration": "++5"}, False),
        ({"x_original_expiration": "5" * 5_000}, False),
        ({"x_first_seen": "9999-12-31T23:00:00+00:00"}, False),
        ({"x_first_seen": "9999-12-31T23:00:00-08:00", "x_original_expiration": "5"}, False),
        ({"x_first_seen": "yesterday"}, False),
    ],
)
def test_a_letter_whose_validity_has_passed_is_pointless(headers: dict[str, Any], *, expired: bool) -> None:
    read = letter(**headers)
    assert (read.expired, read.replay is Replay.POINTLESS) == (expired, expired)


def test_what_may_have_been_delivered_stays_in_doubt_after_its_validity() -> None:
    late = letter(x_replay="in-doubt", x_first_seen="2026-11-20T00:00:00+00:00")
    assert (late.expired, late.replay) == (True, Replay.IN_DOUBT)


def test_the_messages_own_validity_counts() -> None:
    message = text_message("16505551234", "acme", "order-1")
    message["metadata"]["validUntil"] = "2026-11-23T11:59:00Z"
    assert letter(orjson.dumps(message)).expired
    assert moved("expired", **{"original-expiration": "1000"}).expired


def test_a_letter_that_rabbitmq_moved_keeps_the_rest_of_its_validity() -> None:
    left, over = {"original-expiration": "7200000"}, {"original-expiration": "3600000"}  # it was moved an hour ago
    assert (moved("rejected", **left).expired, moved("rejected", **over).expired) == (False, True)
    assert (moved("delivery_limit", **left).expired, moved("delivery_limit", **over).expired) == (False, True)
    assert moved("expired", **left).expired


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(),
        Filter(error_type="AUTH_ERROR", code=190, tenant="acme", fingerprint="00000000deadbeef", replay=Replay.SAFE),
        Filter(older_than=timedelta(minutes=59), newer_than=timedelta(minutes=59)),
        Filter(phone_number_id="100000001", recipient_ending="1234", id=letter().id),
    ],
)
def test_a_filter_takes_what_it_names(wanted: Filter) -> None:
    assert wanted.takes(letter(), NOW)


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(error_type="RATE_LIMIT"),
        Filter(code=4),
        Filter(tenant="globex"),
        Filter(fingerprint="0"),
        Filter(replay=Replay.IN_DOUBT),
        Filter(older_than=timedelta(hours=1)),
        Filter(newer_than=timedelta(minutes=58)),
        Filter(phone_number_id="2"),
        Filter(recipient_ending="99"),
        Filter(id="x"),
    ],
)
def test_a_filter_leaves_everything_else(wanted: Filter) -> None:
    assert not wanted.takes(letter(), NOW)


def test_a_letter_without_a_moment_is_neither_old_nor_new() -> None:
    timeless = letter(x_failed_at=None)
    assert not Filter(older_than=timedelta(0)).takes(timeless, NOW)
    assert not Filter(newer_than=timedelta(days=9)).takes(timeless, NOW)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604800)])
def test_an_age_has_a_unit(text: str, seconds: int) -> None:
    assert age(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "1w", "-1d", "1.5h", "9999999d"])
def test_an_age_without_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a number and a unit"):
        age(text)


def test_letters_of_one_cause_are_one_group() -> None:
    groups = Groups()
    for number in range(5):
        failed = f"2026-11-23T11:0{number}:00+00:00"
        groups.add(letter(x_fingerprint="many", x_failed_at=failed, x_tenant_id=f"tenant-{number % 2}"))
    groups.add(letter(x_fingerprint="one", x_error_type="LATER_TYPE"))
    many, one = (group.to_json() for group in groups.all())
    assert (many["fingerprint"], many["count"], many["tenants"]) == ("many", 5, ["tenant-0", "tenant-1"])
    assert (many["firstFailedAt"], many["lastFailedAt"]) == ("2026-11-23T11:00:00+00:00", "2026-11-23T11:04:00+00:00")
    first = letter(x_fingerprint="many", x_failed_at="2026-11-23T11:00:00+00:00", x_tenant_id="tenant-0")
    assert many["exampleId"] == first.id
    assert "then replay" in many["advice"]
    assert (one["count"], one["advice"][:12]) == (1, "This release")


def test_a_group_whose_letters_differ_in_validity_says_so() -> None:
    groups = Groups()
    for seen in ("2026-11-23T11:00:00+00:00", "2026-11-23T11:00:00+00:00", "2026-11-20T11:00:00+00:00"):
        groups.add(letter(x_first_seen=seen))
    (group,) = groups.all()
    assert (group.replay, group.to_json()["replayClasses"]) == ("safe", {"safe": 2, "pointless": 1})
