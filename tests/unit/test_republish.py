from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from aio_pika import DeliveryMode, Message

from stream.contract.republish import LARGEST_HEADERS, NotRepublishable, copy_of
from tests.unit.doubles import incoming

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


def copied(headers: dict[str, Any] | None = None, extra: dict[str, Any] | None = None, **properties: Any) -> Message:
    return copy_of(incoming(headers=headers or {}, **properties), extra or {})


def test_the_copy_has_the_same_bytes() -> None:
    assert copy_of(incoming(b'{ "a":1.10 }\xff'), {}).body == b'{ "a":1.10 }\xff'


@pytest.mark.parametrize("name", PROPERTIES)
def test_the_copy_has_the_same_property(name: str) -> None:
    assert getattr(copied(**PROPERTIES).properties, name) == PROPERTIES[name]


def test_a_message_without_properties_can_be_copied() -> None:
    properties = copied().properties
    assert properties.content_type is None
    assert properties.message_id is None
    assert properties.user_id is None


@pytest.mark.parametrize("mode", [None, 1, 2])
def test_the_copy_is_persistent_whatever_came(mode: int | None) -> None:
    assert copied(delivery_mode=mode).delivery_mode is DeliveryMode.PERSISTENT


def test_headers_of_upstream_are_kept() -> None:
    headers = {"X-Tenant-ID": "acme", "X-Correlation-ID": "c-1", "nested": {"list": [1, "two", None]}}
    assert headers.items() <= copied(headers).headers.items()


def test_extra_headers_win_over_old_ones() -> None:
    assert copied({"x-attempt": 1}, {"x-attempt": 2}).headers["x-attempt"] == 2


@pytest.mark.parametrize(
    "name", ["x-death", "x-delivery-count", "x-first-death-queue", "x-first-death-reason", "x-last-death-exchange"]
)
def test_the_brokers_own_headers_stay_behind(name: str) -> None:
    assert name not in copied({name: "value"}).headers


def test_what_the_broker_would_act_on_travels_under_another_name() -> None:
    copy = copied({"CC": ["a"], "BCC": ["b"]}, user_id="upstream", expiration="5000")
    assert (copy.properties.user_id, copy.properties.expiration) == (None, None)
    assert not {"CC", "BCC"} & copy.headers.keys()
    assert copy.headers["x-original-cc"] == ["a"]
    assert copy.headers["x-original-bcc"] == ["b"]
    assert copy.headers["x-original-user-id"] == "upstream"
    assert float(str(copy.headers["x-original-expiration"])) in {5.0, 5000.0}


def test_the_original_routing_key_is_kept_through_every_copy() -> None:
    first = copy_of(incoming(routing_key="outbound.processed.acme"), {})
    second = copy_of(incoming(headers=dict(first.headers), routing_key="0.1.outbound-processed"), {})
    assert first.headers["x-original-routing-key"] == "outbound.processed.acme"
    assert second.headers["x-original-routing-key"] == "outbound.processed.acme"


def test_a_copy_of_a_copy_has_the_same_headers() -> None:
    first = copied({"X-Tenant-ID": "acme", "CC": ["a"]}, user_id="upstream", expiration="5000")
    second = copy_of(incoming(headers=dict(first.headers), routing_key="0.1.outbound-processed"), {})
    assert second.headers == first.headers


@pytest.mark.parametrize("extra", [{}, {"x-error-detail": "x" * 1000}])
def test_headers_that_are_too_large_cannot_be_copied(extra: dict[str, str]) -> None:
    with pytest.raises(NotRepublishable, match="bytes"):
        copied({"X-Big": "x" * LARGEST_HEADERS}, extra)


def test_headers_that_just_fit_are_copied() -> None:
    assert len(str(copied({"X-Big": "x" * (LARGEST_HEADERS - 100)}).headers["X-Big"])) == LARGEST_HEADERS - 100


@pytest.mark.parametrize("value", [object(), 2**63, 2**70, {"nested": {1, 2}}], ids=["object", "2**63", "2**70", "set"])
def test_a_header_that_amqp_cannot_carry_cannot_be_copied(value: object) -> None:
    with pytest.raises(NotRepublishable, match="encoded"):
        copied({"X-Odd": value})
