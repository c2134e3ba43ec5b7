"""Until when a message may be sent: read in any form, the same on every arrival."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.broker.republish import waiting_copy
from stream.contract.decoding import decode
from stream.contract.messages import InvalidMessage
from stream.contract.moments import read_moment
from stream.contract.validity import NEVER, Validity
from stream.delivery.arrival import on_arrival
from tests.unit.doubles import incoming, message, properties_of

SEEN = datetime(2026, 11, 24, 6, 15, 2, 250_000, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENT = datetime(2026, 11, 24, 6, 20, tzinfo=UTC)
EPOCH = int(MOMENT.timestamp())


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-24T06:20:00Z",
        "2026-11-24T06:20:00+00:00",
        "2026-11-24T11:50:00+05:30",
        "2026-11-24T06:20:00",
        "2026-11-24 06:20",
        "20261124T062000Z",
        EPOCH,
        float(EPOCH),
        EPOCH * 1000,
        str(EPOCH),
        str(EPOCH * 1000),
        f"{EPOCH}.0",
    ],
)
def test_a_moment_is_read_in_each_form(value: object) -> None:
    assert read_moment(value) == MOMENT


def test_a_date_alone_is_its_start() -> None:
    assert read_moment("2026-11-24") == read_moment("20261124") == datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "24.11.2026", "2026-13-01", "06:20", "20261124062000", "1e9", "+1732460000"),
        *(True, 0, -1, 20261124062000, EPOCH * 10**6, EPOCH * 10**9, 2**63, 1e300),
        *({}, [], [EPOCH]),
    ],
    ids=repr,
)
def test_what_is_no_moment_is_refused_with_the_field_and_the_fix(value: object) -> None:
    with pytest.raises(InvalidMessage) as refused:
        message(validUntil=value)
    assert refused.value.field == "metadata.validUntil"
    assert refused.value.problem.startswith("is no moment: write ISO 8601")


@given(st.one_of(st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=30)))
def test_whatever_a_publisher_writes_is_a_moment_that_can_be_compared_or_refused(value: object) -> None:
    with suppress(ValueError):
        validity = Validity(NEVER).until(read_moment(value))
        assert validity.ends <= NEVER
        assert str(validity)


@pytest.mark.parametrize("metadata", [{}, {"validUntil": None}])
def test_a_message_that_states_no_validity_has_that_of_its_properties(metadata: dict[str, Any]) -> None:
    body = orjson.dumps({"metadata": {**WHO, **metadata}, "wabaPayload": PAYLOAD})
    arrived = Validity(SEEN + DAY, SEEN, "expiration")
    assert decode(body, {}, arrived).validity == arrived


def test_valid_until_wins_over_the_expiration_whichever_is_later() -> None:
    for until in (SEEN - DAY, SEEN + timedelta(hours=1)):
        body = orjson.dumps({"metadata": {**WHO, "validUntil": until.isoformat()}, "wabaPayload": PAYLOAD})
        validity = decode(body, {}, Validity(SEEN + DAY, SEEN, "expiration")).validity
        assert (validity.ends, validity.said_in) == (until, "metadata.validUntil")


WHO = {"tenantId": "acme", "phoneNumberId": "100000001", "internalId": "order-4711"}
PAYLOAD = {"to": "+16505551234", "type": "text", "text": {"body": "Hello"}}


@pytest.mark.parametrize(
    ("properties", "ends"),
    [
        ({}, SEEN + DAY),
        ({"expiration": "3000"}, SEEN + timedelta(seconds=3)),
        ({"expiration": "0"}, SEEN),
        ({"expiration": "3000", "timestamp": SEEN - timedelta(seconds=2)}, SEEN + timedelta(seconds=1)),
        ({"expiration": "3000", "timestamp": SEEN + timedelta(hours=1)}, SEEN + timedelta(seconds=3)),
        ({"expiration": str(2**32 - 1)}, SEEN + DAY),
        ({"timestamp": SEEN - timedelta(days=9)}, SEEN + DAY),
        ({"headers": {"x-original-expiration": "3000"}}, SEEN + timedelta(seconds=3)),
        ({"expiration": "5000", "headers": {"x-original-expiration": "3000"}}, SEEN + timedelta(seconds=5)),
        ({"headers": {"x-original-expiration": "0"}}, SEEN),
    ],
)
def test_properties_and_age_say_when_a_message_ends(properties: dict[str, Any], ends: datetime) -> None:
    assert on_arrival(incoming(**properties), SEEN, DAY).ends == ends


# RabbitMQ takes these for the property: Erlang reads a sign, and any number of zeros.
@pytest.mark.parametrize("expiration", ["+3000", "003000", "+" + "0" * 20 + "3000", "+0", "-0", "-000", "315360000000"])
def test_an_expiration_counts_after_a_wait_too_however_rabbitmq_lets_it_be_written(expiration: str) -> None:
    original = incoming(expiration=expiration)
    again = incoming(headers=properties_of(waiting_copy(original, {})).headers)
    assert on_arrival(again, SEEN, DAY).ends == on_arrival(original, SEEN, DAY).ends


@pytest.mark.parametrize(
    "odd",
    [
        "+",
        "-3000",
        "--0",
        "+-0",
        "+ 3000",
        "3_000",
        "3000\n",
        "3e3",
        3000,
        "",
        "soon",
        "-1",
        "1.5",
        "\u0663",
        "9" * 11,
        "9" * 5000,
        None,
        [],
        bytearray(b"3000"),
    ],
)
def test_a_header_that_is_no_expiration_says_nothing(odd: object) -> None:
    assert on_arrival(incoming(headers={"x-original-expiration": odd}), SEEN, DAY) == Validity(SEEN + DAY)


@pytest.mark.parametrize("timestamp", [None, SEEN.replace(microsecond=0)])
def test_a_copy_that_has_waited_ends_when_the_original_would_have(timestamp: datetime | None) -> None:
    original = incoming(expiration="3000", timestamp=timestamp)
    copied = properties_of(waiting_copy(original, {}))
    again = incoming(headers=copied.headers, timestamp=copied.timestamp)
    assert on_arrival(again, SEEN, DAY) == on_arrival(original, SEEN, DAY)


def test_the_words_name_the_end_and_what_says_so() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    stated = Validity(SEEN + DAY).until(datetime(2026, 11, 24, 12, tzinfo=east))
    assert str(stated) == "valid until 2026-11-24T12:00:00+05:30 (metadata.validUntil)"
    old = Validity(SEEN, SEEN + DAY, "expiration")
    assert str(old) == "valid until 2026-11-24T06:15:02.250000+00:00 (MESSAGE_MAX_AGE_MS after its first sight)"
