"""Properties that cannot be decoded arrive as such, instead of taking the connection down."""

from __future__ import annotations

import struct

import pytest
from aio_pika import Message
from pamqp.commands import Basic

from stream.broker.wire import NO_TEXT, UNREADABLE, ArrivedHeaders, guard_deliveries

FLAGS = Basic.Properties.flags


def decoded(name: str, data: bytes) -> Basic.Properties:
    guard_deliveries()
    properties = Basic.Properties()
    properties.unmarshal(FLAGS[name], data)
    return properties


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("timestamp", struct.pack(">Q", 2**63 - 1)),
        ("correlation_id", b"\x02\xff\xfe"),
        ("headers", struct.pack(">I", 4) + b"\x01\xffV"),
        ("headers", struct.pack(">I", 3) + b"\x01a?"),
    ],
    ids=["a timestamp beyond the calendar", "text that is not UTF-8", "a name that is not UTF-8", "an unknown kind"],
)
def test_what_cannot_be_decoded_is_marked(name: str, data: bytes) -> None:
    assert UNREADABLE in (decoded(name, data).headers or {})


def test_what_can_be_decoded_is_left_alone() -> None:
    properties = decoded("correlation_id", b"\x02ab")
    assert properties.correlation_id == "ab"
    assert properties.headers == {}


def test_the_bytes_of_all_properties_are_kept_even_where_they_cannot_be_decoded_and_without_any_header() -> None:
    data = b"\x02\xff\xfe"
    for arrived in (decoded("correlation_id", data).headers, decoded("correlation_id", b"\x02ab").headers):
        assert isinstance(arrived, ArrivedHeaders)
        assert arrived  # or aio-pika would replace it
        assert arrived.flags == FLAGS["correlation_id"]
    assert Message(b"", headers=arrived).headers is arrived


@pytest.mark.parametrize(("exchange", "key"), [(b"ex", b"outbound.\xff\xfe"), (b"\xff", b"k"), (b"ex", b"")])
def test_an_exchange_and_a_routing_key_that_are_no_text_arrive_and_lose_no_bit(exchange: bytes, key: bytes) -> None:
    guard_deliveries()
    names = bytes([len(exchange)]) + exchange + bytes([len(key)]) + key
    delivery = Basic.Deliver()
    delivery.unmarshal(b"\x03tag" + (7).to_bytes(8, "big") + b"\x01" + names)
    assert (delivery.consumer_tag, delivery.delivery_tag, delivery.redelivered) == ("tag", 7, True)
    arrived = (delivery.exchange or "", delivery.routing_key or "")
    assert tuple(name.encode(errors=NO_TEXT) for name in arrived) == (exchange, key)
