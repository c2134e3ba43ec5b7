from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.observe.redaction import masked_number, redact, redact_event, without_numbers, without_secrets

TOKEN = "EAAGm0PX4ZCpsBAKvLOq"


@pytest.mark.parametrize(
    ("text", "secret", "kept"),
    [
        (f"Malformed access token {TOKEN}", TOKEN, "Malformed access token"),
        (f"Authorization: Bearer {TOKEN}", TOKEN, "Bearer"),
        ("authorization: bearer opaque-0815", "opaque-0815", "bearer"),
        ("Basic dXNlcjpwYXNz, retry", "dXNlcjpwYXNz", "retry"),
        ("amqp://guest:s3cret@rabbit:5672/%2Fwhatsapp", "s3cret", "rabbit:5672"),
        ("redis://:s3cret@redis:6379/0", "s3cret", "redis:6379"),
        ("https://user:s3cret@proxy.example/path", "s3cret", "proxy.example/path"),
        ("rediss://default:s3cret@a and amqps://u:s3cret@b", "s3cret", "@b"),
        ("GET /me?access_token=s3cret&fields=id", "s3cret", "fields=id"),
        ('{"access_token": "s3cret", "id": 5}', "s3cret", '"id": 5'),
        ("password='s3cret' host=h", "s3cret", "host=h"),
        ("client secret: s3cret", "s3cret", "client"),
        ("entry gAAAAABnQ0a1b2c3d4e5f6g7h8i9j0== unreadable", "gAAAAABnQ0a1b2c3d4e5f6g7h8i9j0", "unreadable"),
    ],
)
def test_a_secret_in_text_is_masked_and_the_rest_is_kept(text: str, secret: str, kept: str) -> None:
    shown = without_secrets(text)
    assert secret not in shown
    assert "***" in shown
    assert kept in shown


@pytest.mark.parametrize(
    "text",
    [
        "(#131047) Re-engagement message",
        "http://tenants:3000/api",
        "ConnectError: All connection attempts failed",
        "the Tenant Service answered HTTP 503",
        "2026-11-23T12:00:00.123456+00:00",
        "no connection was made to 192.168.100.200:5672 (10.0.0.17)",
        "code 100 (131047), then 190 (463)",
        "RabbitMQ 3.10.8 and 4.3.6, Erlang 27.3.4.15, Windows 10.0.19045.3803, Chrome 126.0.6478.127",
        "127.0.0.1, 10.20.30.40, 192.168.100.200, 1.2.650.555.1234 and 650.555.1234.5",
        "24.11.2026, 12.30.45.1234, 123456.789, 1234.5678 and 1.234.567",
    ],
)
def test_a_text_without_secrets_is_left_alone(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("number", "shown"),
    [("+16505551234", "***1234"), ("919876543210", "***3210"), ("12345", "***2345"), ("1234", "***")],
)
def test_of_a_phone_number_four_digits_are_shown(number: str, shown: str) -> None:
    assert masked_number(number) == shown


@pytest.mark.parametrize(
    "text",
    [
        "to +16505551234 failed",
        "to 919876543210.",
        '{"to":"919876543210"}',
        "wa_id=919876543210,",
        "+91 98765 43210",
        "650-555-1234 is not valid",
        "(919876543210)",
        "+1 (650) 555-1234",
        "to: 1 (650) 555-1234",
        "(650) 555-1234",
        "+49.170.123.4567",
        "650.555.1234",
        "to 1.650.555.1234.",
        "(49.170.123.4567)",
        "+1\u00a0650\u2011555\u00a01234",
    ],
)
def test_a_phone_number_in_text_is_masked(text: str) -> None:
    shown = without_numbers(text)
    assert sum(map(str.isdigit, shown)) <= 4
    assert "***" in shown


@pytest.mark.parametrize("field", ["tenantId", "internalId", "phoneNumberId", "wamid", "fbtrace_id"])
def test_an_identifier_that_people_search_for_is_shown_whole(field: str) -> None:
    assert redact({field: "106540352242922"}) == {field: "106540352242922"}


def test_a_token_is_masked_even_in_an_identifier() -> None:
    assert redact({"internalId": TOKEN}) == {"internalId": "***"}


@pytest.mark.parametrize(
    "value", ["s3cret", 123456, b"s3cret", ["s3cret"], {"value": "s3cret"}, Decimal(123456)], ids=repr
)
def test_a_field_whose_name_says_secret_never_shows_its_value(value: object) -> None:
    fields = ("token", "systemUserAccessToken", "PASSWD", "client_secret", "Authorization", "api_key", "apiKey")
    shown = str(redact(dict.fromkeys(fields, value)))
    assert "s3cret" not in shown
    assert "123456" not in shown


def test_nested_values_are_searched() -> None:
    value: dict[str, Any] = {"a": [{"b": (f"Bearer {TOKEN}",)}, {"to +16505551234"}], "c": 5, "d": None, "e": True}
    shown = redact(value)
    assert TOKEN not in str(shown)
    assert "6505551234" not in str(shown)
    assert (shown["c"], shown["d"], shown["e"]) == (5, None, True)


def test_a_copy_is_redacted_and_the_value_is_left_as_it_was() -> None:
    value = {"detail": [f"Bearer {TOKEN}"]}
    redact(value)
    assert value == {"detail": [f"Bearer {TOKEN}"]}


def test_an_exception_is_searched() -> None:
    assert TOKEN not in redact(ValueError(f"refused: {TOKEN}"))
    assert "6505551234" not in redact(ValueError("to +16505551234"))


def test_a_log_event_is_searched_with_its_traceback() -> None:
    event = {
        "event": "unexpected_error",
        "exception": f"Traceback ...\nValueError: {TOKEN} +16505551234",
        "tenantId": "1234567890",
    }
    shown = redact_event(None, "error", event)
    assert shown["event"] == "unexpected_error"
    assert shown["tenantId"] == "1234567890"
    assert TOKEN not in shown["exception"]
    assert "6505551234" not in shown["exception"]


PIECES = (
    "Bearer ",
    "EAAG",
    "gAAAA",
    "x" * 20,
    "://",
    "u:",
    "p@h",
    "token",
    "SECRET",
    "pa\u017f\u017fword",
    "to\u212aen",
    "=",
    ": ",
)
NUMBERS = ("+", "(", ")", "1", "1650", "555", "1234567", "-", " ", "\n", ".", "\u0661" * 7, "a", "\u00e9", '"')
FIELDS = ("event", "detail", "tenantId", "internalId", "wamid", "recipient", "accessToken", "apiKey", "timestamp")
texts = st.lists(st.sampled_from(PIECES + NUMBERS), max_size=6).map("".join)
flat = texts | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
nested = st.lists(flat) | st.dictionaries(st.sampled_from(FIELDS), flat) | texts.map(ValueError) | texts.map(str.encode)


@given(event=st.dictionaries(st.sampled_from(FIELDS), flat | nested))
@example({"event": "to 16505", "detail": "551234"})
@example({"event": "Bearer", "detail": "opaque"})
@example({"detail": "pa\u017f\u017fword=s3cret"})
@example({"detail": "to\u212aen=s3cret"})
@example({"internalId": "token=s3cret"})
@example({"detail": "\u0661" * 8})
@example({"accessToken": None, "apiKey": 5})
@example({"detail": ["+16505551234"]})
def test_the_short_way_through_an_event_shows_what_the_long_way_shows(event: dict[str, Any]) -> None:
    assert redact_event(None, "info", event) == {key: redact(value, key) for key, value in event.items()}


def test_an_ordinary_event_takes_the_short_way() -> None:
    event = {
        "event": "delivered",
        "tenantId": "1234567890",
        "recipient": "***1234",
        "attempt": 16505551234,
        "code": None,
    }
    assert redact_event(None, "info", event) is event
