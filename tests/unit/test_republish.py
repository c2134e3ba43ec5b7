from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from pamqp.commands import Basic

from stream.broker.republish import LARGEST_PROPERTIES, NotRepublishable, final_copy, replayed_copy, waiting_copy
from stream.broker.wire import ArrivedHeaders
from tests.unit.doubles import Channel, incoming, properties_of

FLAGS = Basic.Properties.flags
PROPERTIES: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "priority": 5,
    "correlation_id": "c-1",
    "reply_to": "answers",
    "message_id": "m-1",
    "timestamp": datetime(2026, 11, 23, 12, tzinfo=UTC),
    "message_type": "OutboundMessage",
    "app_id": "upstream",
}


def copied(
    headers: dict[str, Any] | None = None, extra: dict[str, Any] | None = None, **properties: Any
) -> Basic.Properties:
    """The properties of a dead letter."""
    return properties_of(final_copy(incoming(headers=headers or {}, **properties), extra or {}))


def headers_of(*arguments: Any, **properties: Any) -> dict[str, Any]:
    return dict(copied(*arguments, **properties).headers or {})


def test_the_copy_has_the_same_bytes() -> None:
    assert final_copy(incoming(b'{ "a":1.10 }\xff'), {}).body == b'{ "a":1.10 }\xff'


@pytest.mark.parametrize("name", PROPERTIES)
def test_the_copy_has_the_same_property(name: str) -> None:
    assert getattr(copied(**PROPERTIES), name) == PROPERTIES[name]


def test_a_message_without_properties_can_be_copied() -> None:
    properties = copied()
    assert properties.content_type is None
    assert properties.message_id is None
    assert properties.user_id is None


@pytest.mark.parametrize("mode", [None, 1, 2])
def test_the_copy_is_persistent_whatever_came(mode: int | None) -> None:
    assert copied(delivery_mode=mode).delivery_mode == 2


def test_headers_of_upstream_are_kept() -> None:
    headers = {"X-Tenant-ID": "acme", "X-Correlation-ID": "c-1", "nested": {"list": [1, "two", None]}}
    assert headers.items() <= headers_of(headers).items()


def test_extra_headers_win_over_old_ones() -> None:
    assert headers_of({"x-attempt": 1}, {"x-attempt": 2})["x-attempt"] == 2


@pytest.mark.parametrize(
    "name",
    [
        "x-death",
        "x-delivery-count",
        "x-acquired-count",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
    ],
)
def test_the_brokers_own_headers_stay_behind(name: str) -> None:
    assert name not in headers_of({name: "value"})


def test_what_the_broker_would_act_on_travels_under_another_name() -> None:
    copy = copied({"CC": ["a"], "BCC": ["b"]}, user_id="upstream", expiration="5000")
    headers = copy.headers or {}
    assert (copy.user_id, copy.expiration) == (None, None)
    assert not {"CC", "BCC"} & headers.keys()
    assert headers["x-original-cc"] == ["a"]
    assert headers["x-original-bcc"] == ["b"]
    assert headers["x-original-user-id"] == "upstream"
    assert headers["x-original-expiration"] == "5000"


def test_a_priority_is_set_aside_while_a_message_waits_and_given_back_to_its_dead_letter_or_replay() -> None:
    copy = waiting_copy(incoming(priority=7), {})
    waiting = properties_of(copy)
    assert (waiting.priority, (waiting.headers or {})["x-original-priority"]) == (None, 7)
    back = cast("Any", incoming())
    back.headers = ArrivedHeaders(waiting.headers, FLAGS["headers"], copy.properties["headers"])
    for made in (final_copy(back, {}), replayed_copy(back, {}, without=(), body=b"")):  # RabbitMQ moved it after a wait
        letter = properties_of(made)
        assert letter.priority == 7
        assert "x-original-priority" not in (letter.headers or {})


@pytest.mark.parametrize("value", ["7", 2.5, None, [7], 70000])
def test_a_priority_header_that_no_worker_wrote_becomes_no_priority_and_stays(value: object) -> None:
    copy = copied({"x-original-priority": value})
    assert (copy.priority, (copy.headers or {})["x-original-priority"]) == (None, value)


def test_a_publishers_own_priority_wins_over_a_header_of_the_same_name_as_the_workers() -> None:
    waiting = properties_of(waiting_copy(incoming(priority=3, headers={"x-original-priority": "high"}), {}))
    assert (waiting.headers or {})["x-original-priority"] == 3


def test_the_parent_of_a_trace_replaces_what_belongs_to_the_one_before() -> None:
    headers = {"traceparent": "upstream's", "tracestate": "upstream=1", "x": "y"}
    assert "tracestate" not in headers_of(headers, {"traceparent": "ours"})
    assert headers_of(headers)["tracestate"] == "upstream=1"


def test_the_original_routing_key_is_kept_through_every_copy() -> None:
    first = properties_of(waiting_copy(incoming(routing_key="outbound.processed.acme"), {})).headers or {}
    second = (
        properties_of(waiting_copy(incoming(headers=first, routing_key="0.1.outbound-processed"), {})).headers or {}
    )
    assert first["x-original-routing-key"] == "outbound.processed.acme"
    assert second["x-original-routing-key"] == "outbound.processed.acme"


def test_a_copy_of_a_copy_has_the_same_headers() -> None:
    first = headers_of({"X-Tenant-ID": "acme", "CC": ["a"]}, user_id="upstream", expiration="5000")
    second = final_copy(incoming(headers=dict(first), routing_key="0.1.outbound-processed"), {})
    assert properties_of(second).headers == first


@pytest.mark.parametrize("extra", [{}, {"x-error-detail": "x" * 1000}])
def test_headers_that_are_too_large_cannot_be_copied(extra: dict[str, str]) -> None:
    with pytest.raises(NotRepublishable, match="bytes"):
        copied({"X-Big": "x" * LARGEST_PROPERTIES}, extra)


def test_headers_that_just_fit_are_copied() -> None:
    assert len(headers_of({"X-Big": "x" * (LARGEST_PROPERTIES - 100)})["X-Big"]) == LARGEST_PROPERTIES - 100


@pytest.mark.parametrize(
    ("flags", "data"),
    [
        (1 << 15, b"\x05abc"),
        (1 << 13, b"\x00\x00\x00\x09\x01aS\x00\x00\x00\x09x"),
        (1 << 13, b"\x00\x00\x00\x03\x01aZ"),
        (1 << 13, b"\x00\x00\x00\x03\x09aV"),
        (1 << 13, b"\x00\x00"),
        (1 << 6, b"\x00"),
    ],
    ids=["short text", "long text", "unknown type", "name", "table", "timestamp"],
)
def test_bytes_that_are_no_properties_cannot_be_copied(flags: int, data: bytes) -> None:
    message = cast("Any", incoming())
    message.headers = ArrivedHeaders(None, flags, data)
    with pytest.raises(NotRepublishable):
        final_copy(message, {})


@pytest.mark.parametrize(("content", "fits"), [(8_184, False), (131_064, True), (-8, True)])
def test_a_copy_fits_into_a_frame_of_the_connection_that_its_original_came_on(
    monkeypatch: pytest.MonkeyPatch,
    content: int,
    fits: bool,  # noqa: FBT001 - a column of the table
) -> None:
    monkeypatch.setattr(Channel, "max_content_size", content)
    if fits:
        assert copied({"X-Big": "x" * 9_000})
    else:
        with pytest.raises(NotRepublishable, match="more than 8120"):
            copied({"X-Big": "x" * 9_000})
