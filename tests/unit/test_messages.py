from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.decoding import decode
from stream.contract.identifiers import InternalId, TenantId
from stream.contract.messages import InvalidMessage, Whose

METADATA: dict[str, Any] = {"tenantId": "acme", "phoneNumberId": "100000001", "internalId": "order-4711"}
PAYLOAD: dict[str, Any] = {"to": "+16505551234", "type": "text", "text": {"body": "Hello"}}

SECRET = "+16505551234"


odd = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text())
)


def body(metadata: object = METADATA, payload: object = PAYLOAD, **more: object) -> bytes:
    return orjson.dumps({"metadata": metadata, "wabaPayload": payload, **more})


def refused(raw: bytes) -> InvalidMessage:
    with pytest.raises(InvalidMessage) as caught:
        decode(raw)
    return caught.value


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in METADATA.items() if name != field}


def test_a_message_says_whose_it_is() -> None:
    message = decode(body())
    assert (message.tenant_id, message.phone_number_id, message.internal_id) == ("acme", "100000001", "order-4711")
    assert (message.payload_type, message.recipient) == ("text", "+16505551234")


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (orjson.dumps({"wabaPayload": PAYLOAD}), "metadata"),
        (orjson.dumps({"metadata": METADATA}), "wabaPayload"),
        (body(metadata=[]), "metadata"),
        (body(metadata=None), "metadata"),
        (body(payload="text"), "wabaPayload"),
        (body(payload=None), "wabaPayload"),
        (body(without("tenantId")), "metadata.tenantId"),
        (body(without("phoneNumberId")), "metadata.phoneNumberId"),
        (body(without("internalId")), "metadata.internalId"),
        (body(payload={}), "wabaPayload.type"),
        (body(payload={"type": None, "text": {}}), "wabaPayload.type"),
        (body(payload={"type": "", "": {}}), "wabaPayload.type"),
        (body(payload={"type": ["text"], "text": {}}), "wabaPayload.type"),
        (body(payload={"type": "text"}), "wabaPayload.text"),
        (body(payload={"type": "text", "text": "Hello"}), "wabaPayload.text"),
        (body(payload={"type": "text", "text": None}), "wabaPayload.text"),
        (body(payload={"type": "hologram", "text": {}}), "wabaPayload.type"),
    ],
)
def test_what_is_missing_or_wrong_is_named(raw: bytes, field: str) -> None:
    error = refused(raw)
    assert error.field == field
    assert str(error) == f"{field}: {error.problem}"


@pytest.mark.parametrize("field", ["tenantId", "phoneNumberId", "internalId"])
@pytest.mark.parametrize(
    "value",
    ["", "a\nb", "acme\n", "a\x00", "a\x1fb", "a\x7f", "a\x85b", "x" * 10_240, None, True, 1.5, [], {}],
    ids=repr,
)
def test_an_id_that_is_no_text_or_has_control_characters_is_refused(field: str, value: object) -> None:
    error = refused(body({**METADATA, field: value}))
    assert error.field == f"metadata.{field}"


@pytest.mark.parametrize("value", ["x" * 129, "\U0001f600" * 129])
def test_a_tenant_id_of_more_than_128_characters_is_refused(value: str) -> None:
    assert refused(body({**METADATA, "tenantId": value})).field == "metadata.tenantId"


@pytest.mark.parametrize(
    "value",
    [
        "acme",
        "a:b@c~d_e",
        "7",
        "x" * 128,
        " ",
        "a b/c?d%e#ü",
        "+49 30 1234567",
        "..",
        "../../me",
        "{}",
        "*.#",
        "\U0001f600" * 128,
    ],
)
def test_a_tenant_id_is_any_text_of_1_to_128_characters(value: str) -> None:
    assert decode(body({**METADATA, "tenantId": value})).tenant_id == value


@pytest.mark.parametrize(
    "value", [" ", "a", "1a", "../1", "1/2", "1?", "+1", "-1", "1.0", "\uff11\uff12\uff13", "1" * 65]
)
def test_a_phone_number_id_is_digits(value: str) -> None:
    assert refused(body({**METADATA, "phoneNumberId": value})).field == "metadata.phoneNumberId"


@pytest.mark.parametrize("value", [" ", "a b", "ünïcode", "x" * 257])
def test_an_internal_id_is_printable_ascii_without_spaces(value: str) -> None:
    assert refused(body({**METADATA, "internalId": value})).field == "metadata.internalId"


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (body(metadata=SECRET), "metadata: must be a JSON object"),
        (body(payload=SECRET), "wabaPayload: must be a JSON object"),
        (body(without("tenantId")), "metadata.tenantId: is required: add it"),
        (body({**METADATA, "tenantId": [SECRET]}), "metadata.tenantId: must be a text of 1 to 128 characters, none"),
        (body({**METADATA, "tenantId": f"{SECRET}\x00"}), "metadata.tenantId: must be a text of 1 to 128 characters"),
        (body({**METADATA, "phoneNumberId": SECRET}), "metadata.phoneNumberId: must be 1 to 64 digits"),
        (body({**METADATA, "internalId": f" {SECRET}"}), "metadata.internalId: must be a text of 1 to 256 printable"),
        (body({**METADATA, "validUntil": SECRET}), "metadata.validUntil: is no moment: write ISO 8601"),
        (body(payload={"type": [SECRET]}), "wabaPayload.type: is required: name the kind of message"),
        (body(payload={"type": SECRET, "to": SECRET}), "wabaPayload.type: names no object of wabaPayload: add that"),
        (body(payload={"type": "text", "text": SECRET}), "wabaPayload.text: must be an object: the content that"),
        (body(payload={"type": "contacts", "contacts": {SECRET: 1}}), "wabaPayload.contacts: must be an array"),
        ('{"é": "%s" 1}'.encode() % SECRET.encode(), "body: is not JSON (unexpected character"),
    ],
)
def test_each_detail_says_what_is_wrong_in_words_of_our_own_and_repeats_no_value(raw: bytes, detail: str) -> None:
    said = str(refused(raw))
    assert said.startswith(detail)
    assert SECRET not in said
    assert "Input should" not in said


def test_a_place_in_a_body_that_is_no_json_is_counted_in_characters() -> None:
    assert "at character 21)" in str(refused('{"é": "+16505551234" 1}'.encode()))


@given(st.sampled_from(["tenantId", "phoneNumberId", "internalId", "validUntil"]), odd, odd)
def test_no_detail_is_in_pydantics_words(field: str, value: object, whole: object) -> None:
    for raw in (body({**METADATA, field: value}), body(metadata=whole), body(payload=whole)):
        try:
            decode(raw)
        except InvalidMessage as error:
            words = ("is required", "must be", "is no moment", "names no object")
            assert error.problem.startswith(words)  # noqa: PT017 - a body that is taken is right too


BOTH = Whose(TenantId("acme"), InternalId("order-4711"))


@pytest.mark.parametrize(
    ("raw", "whose"),
    [
        (body({**METADATA, "phoneNumberId": "+1"}), BOTH),
        (body(without("phoneNumberId")), BOTH),
        (body(payload={}), BOTH),
        (body(payload=None), BOTH),
        (body(payload={"type": "text", "text": "Hello"}), BOTH),
        (orjson.dumps({"metadata": METADATA}), BOTH),
        (body({"tenantId": 42, "internalId": 7}), Whose(TenantId("42"), InternalId("7"))),
        (body({**METADATA, "tenantId": "a\x00"}), Whose(None, InternalId("order-4711"))),
        (body({**METADATA, "internalId": "x" * 300}), Whose(TenantId("acme"), None)),
        (body(without("tenantId")), Whose(None, InternalId("order-4711"))),
        (body([]), Whose()),
        (b"no JSON", Whose()),
        (b"[]", Whose()),
    ],
)
def test_a_message_that_is_refused_says_whose_it_is_where_that_can_be_read(raw: bytes, whose: Whose) -> None:
    assert refused(raw).whose == whose


def test_a_message_that_is_nested_too_deeply_says_whose_it_is() -> None:
    nest = b"[" * 1000 + b"]" * 1000
    raw = b'{"metadata":%s,"wabaPayload":{"type":"text","text":{"a":%s}}}' % (orjson.dumps(METADATA), nest)
    assert refused(raw).whose == BOTH


def test_an_id_that_was_written_as_a_number_is_taken() -> None:
    message = decode(body({"tenantId": 42, "phoneNumberId": 106540352242922, "internalId": 0}))
    assert (message.tenant_id, message.phone_number_id, message.internal_id) == ("42", "106540352242922", "0")


@given(
    optional=st.dictionaries(st.sampled_from(["correlationId", "timestamp", "priority", "retryCount", "later"]), odd)
)
def test_an_optional_field_of_any_kind_costs_no_message(optional: dict[str, Any]) -> None:
    message = decode(body({**METADATA, **optional}, later=optional))
    correlation = optional.get("correlationId")
    assert message.correlation_id == (correlation if isinstance(correlation, str) else None)


def test_unknown_fields_cost_no_message() -> None:
    message = decode(body({**METADATA, "campaign": "spring"}, trace={"id": 1}))
    assert message.payload_bytes == decode(body()).payload_bytes


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"text",
        b"\xff\xfe",
        b'{"metadata": "\xc3\x28"}',
        b"\xef\xbb\xbf{}",
        b'{"metadata": NaN}',
        b'{"metadata": Infinity}',
        b'{"a": "\\ud800"}',
        b'{"a": 1',
        b'{"a": 1}{}',
        b"[]",
        b"null",
        b"5",
        b"[" * 10_000 + b"]" * 10_000,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_bytes_that_are_no_json_object_are_refused_as_a_body(raw: bytes) -> None:
    assert refused(raw).field == "body"


@pytest.mark.parametrize("depth", [10, 500, 900, 990, 1000, 1010, 1023, 1100, 10_000])
@pytest.mark.parametrize("place", ["payload", "elsewhere"])
def test_nesting_is_taken_or_refused_and_nothing_else(depth: int, place: str) -> None:
    nest = b"[" * depth + b"]" * depth
    payload, later = (nest, b"1") if place == "payload" else (b"1", nest)
    raw = orjson.dumps(METADATA)
    raw = b'{"metadata":%s,"wabaPayload":{"type":"text","text":{"body":%s}},"later":%s}' % (raw, payload, later)
    try:
        message = decode(raw)
    except InvalidMessage as error:
        assert error.field == "body"  # noqa: PT017 - either way out is right
    else:
        assert nest in message.payload_bytes or place == "elsewhere"


def test_the_last_of_two_same_keys_counts_everywhere() -> None:
    raw = (
        b'{"metadata":{"tenantId":"first","tenantId":"acme","phoneNumberId":"1","internalId":"a"},'
        b'"wabaPayload":{"type":"text","text":{"body":"first"}},"wabaPayload":{"type":"text","text":{"body":"last"}}}'
    )
    message = decode(raw)
    assert message.tenant_id == "acme"
    assert message.payload_bytes == b'{"type":"text","text":{"body":"last"}}'


def test_a_megabyte_is_taken() -> None:
    text = "x" * 1_000_000
    assert len(decode(body(payload={**PAYLOAD, "text": {"body": text}})).payload_bytes) > len(text)


def test_a_message_keeps_its_payload_as_bytes_and_of_its_objects_only_what_is_read_later() -> None:
    template = {"name": "offer", "components": [{}] * 40_000}
    payload = {"to": "+16505551234", "type": "template", "template": template}
    metadata = {**METADATA, "correlationId": "c-1", "timestamp": "2026-11-24", "priority": [0], "other": [0] * 1000}
    message = decode(body(metadata, payload, later=[[]] * 1000))
    assert message.payload_bytes == orjson.dumps(payload)
    assert (message.payload_type, message.recipient, message.template_name) == ("template", "+16505551234", "offer")
    assert (message.tenant_id, message.correlation_id) == ("acme", "c-1")
    assert message.timestamp == "2026-11-24"
    assert len(repr(message)) < len(message.payload_bytes) + 1000


def test_a_body_above_the_limit_is_refused_unread() -> None:
    raw = body()
    assert decode(raw, max_bytes=len(raw)).internal_id == "order-4711"
    error = refused(raw + b" " * 1024 * 1024)
    assert str(error) == f"body: is {len(raw) + 1_048_576:,} bytes long: at most 1,048,576 are read (MESSAGE_MAX_BYTES)"
    with pytest.raises(InvalidMessage, match="body: is 5 bytes long"):
        decode(b"[[[[[", max_bytes=4)


@given(raw=st.binary(max_size=100))
def test_no_bytes_raise_anything_but_the_verdict(raw: bytes) -> None:
    with suppress(InvalidMessage):
        decode(raw)


@pytest.mark.parametrize(
    ("payload", "recipient"),
    [
        ({"to": "+1650"}, "+1650"),
        ({"recipient": "US.134"}, "US.134"),
        ({"to": "+1650", "recipient": "US.134"}, "+1650"),
        ({"to": 1650}, None),
        ({}, None),
    ],
)
def test_the_recipient_is_to_or_else_recipient(payload: dict[str, Any], recipient: str | None) -> None:
    assert decode(body(payload={"type": "text", "text": {}, **payload})).recipient == recipient


@pytest.mark.parametrize(("template", "name"), [({"name": "welcome"}, "welcome"), ({"name": 5}, None), ({}, None)])
def test_a_template_has_its_name(template: object, name: str | None) -> None:
    assert decode(body(payload={"type": "template", "template": template})).template_name == name


def test_a_message_has_what_its_headers_ask_for() -> None:
    assert decode(body(), {"x-resend": "again"}).instructions.resend == "again"
