"""The schemas, with an independent validator: what is right passes, what is wrong does not."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from stream.contract.decoding import decode
from stream.specification.example_payloads import PAYLOADS
from tests.contract import contract, problems, schema_of

DOCUMENTED = sorted((Path(__file__).parent.parent / "payloads").glob("*.json"))
EXAMPLES = [
    (name, example) for name, message in contract()["components"]["messages"].items() for example in message["examples"]
]
TEXT = PAYLOADS["text"][1]
BUTTONS = PAYLOADS["interactiveButtons"][1]
TEMPLATE = PAYLOADS["template"][1]
LETTER = contract()["components"]["messages"]["DeadLetter"]["examples"][0]["headers"]
SENT = contract()["components"]["messages"]["DeliverySent"]["examples"][0]["payload"]
ALERT = contract()["components"]["messages"]["DeliveryAlert"]["examples"][0]["payload"]


def _with(value: dict[str, Any], path: str, new: Any) -> dict[str, Any]:
    """A copy with one field changed; `...` removes it."""
    changed = deepcopy(value)
    *way, last = path.split("/")
    place: Any = changed
    for step in way:
        place = place[int(step) if step.isdecimal() else step]
    key = int(last) if last.isdecimal() else last
    if new is ...:
        del place[key]
    else:
        place[key] = new
    return changed


def _message(payload: dict[str, Any]) -> dict[str, Any]:
    metadata = {"tenantId": "acme", "phoneNumberId": "100000001", "internalId": "order-4711"}
    return {"metadata": metadata, "wabaPayload": payload}


def test_every_schema_is_a_valid_schema() -> None:
    for schema in contract()["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[f"{name}-{example['name']}" for name, example in EXAMPLES])
def test_every_example_is_valid(name: str, example: dict[str, Any]) -> None:
    for part in ("payload", "headers"):
        schema = schema_of(name, part)
        assert schema is None or problems(schema, example[part]) == []


def test_the_examples_show_every_type_of_payload() -> None:
    shown = {example["payload"]["wabaPayload"]["type"] for name, example in EXAMPLES if name == "OutboundMessage"}
    known = contract()["components"]["schemas"]["OtherPayload"]["properties"]["type"]["not"]["enum"]
    assert shown > set(known)


@pytest.mark.parametrize(
    "example", [one for name, one in EXAMPLES if name == "OutboundMessage"], ids=lambda one: one["name"]
)
def test_the_worker_accepts_every_example(example: dict[str, Any]) -> None:
    message = decode(json.dumps(example["payload"]).encode(), example["headers"])
    assert message.payload_type == example["payload"]["wabaPayload"]["type"]


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.stem)
def test_every_payload_that_meta_documents_is_valid(path: Path) -> None:
    payload = json.loads(path.read_text(encoding="utf-8"))
    assert problems("WabaPayload", payload) == []
    assert problems("OutboundMessage", _message(payload)) == []


def test_there_are_forty_documented_payloads() -> None:
    assert len(DOCUMENTED) == 40


WRONG_MESSAGES = {
    "no metadata": _with(_message(TEXT), "metadata", ...),
    "no payload": _with(_message(TEXT), "wabaPayload", ...),
    "no tenant": _with(_message(TEXT), "metadata/tenantId", ...),
    "tenant with a control character": _with(_message(TEXT), "metadata/tenantId", "a\x00b"),
    "phone number id with a slash": _with(_message(TEXT), "metadata/phoneNumberId", "../1"),
    "tenant too long": _with(_message(TEXT), "metadata/tenantId", "a" * 129),
    "no phone number id": _with(_message(TEXT), "metadata/phoneNumberId", ...),
    "phone number id with a plus": _with(_message(TEXT), "metadata/phoneNumberId", "+15551234"),
    "no internal id": _with(_message(TEXT), "metadata/internalId", ...),
    "internal id with a space": _with(_message(TEXT), "metadata/internalId", "order 4711"),
    "payload as text": _with(_message(TEXT), "wabaPayload", json.dumps(TEXT)),
    "a list": [_message(TEXT)],
}


@pytest.mark.parametrize("wrong", WRONG_MESSAGES.values(), ids=WRONG_MESSAGES)
def test_a_wrong_message_is_rejected(wrong: Any) -> None:
    assert problems("OutboundMessage", wrong) != []


WRONG_PAYLOADS = {
    "no type": _with(TEXT, "type", ...),
    "no product": _with(TEXT, "messaging_product", ...),
    "another product": _with(TEXT, "messaging_product", "messenger"),
    "nobody to send to": _with(TEXT, "to", ...),
    "empty recipient": _with(TEXT, "to", ""),
    "recipient as a number": _with(TEXT, "to", 16505551234),
    "unknown kind of recipient": _with(TEXT, "recipient_type", "everybody"),
    "content of another type": _with(TEXT, "type", "image"),
    "text without body": _with(TEXT, "text/body", ...),
    "empty text": _with(TEXT, "text/body", ""),
    "text too long": _with(TEXT, "text/body", "x" * 4097),
    "text not in an object": _with(TEXT, "text", "Hello"),
    "preview as a word": _with(TEXT, "text/preview_url", "yes"),
    "opaque data too long": _with(TEXT, "biz_opaque_callback_data", "x" * 513),
    "time to live too short": _with(TEXT, "ttl_seconds", 29),
    "reply to nothing": _with(TEXT, "context", {}),
    "image without source": _with(PAYLOADS["image"][1], "image/link", ...),
    "image with both sources": _with(PAYLOADS["image"][1], "image/id", "1"),
    "caption too long": _with(PAYLOADS["image"][1], "image/caption", "x" * 1025),
    "video without source": _with(PAYLOADS["video"][1], "video", {}),
    "voice as a word": _with(PAYLOADS["audio"][1], "audio/voice", "true"),
    "document as a list": _with(PAYLOADS["document"][1], "document", []),
    "sticker without source": _with(PAYLOADS["sticker"][1], "sticker", {"caption": "no"}),
    "latitude of no place": _with(PAYLOADS["location"][1], "location/latitude", 91),
    "no longitude": _with(PAYLOADS["location"][1], "location/longitude", ...),
    "contacts as an object": _with(PAYLOADS["contacts"][1], "contacts", {}),
    "no contact": _with(PAYLOADS["contacts"][1], "contacts", []),
    "contact without a name": _with(PAYLOADS["contacts"][1], "contacts/0/name", ...),
    "name without its parts": _with(PAYLOADS["contacts"][1], "contacts/0/name", {"formatted_name": "Jane"}),
    "birthday in words": _with(PAYLOADS["contacts"][1], "contacts/0/birthday", "May 1st"),
    "reaction to nothing": _with(PAYLOADS["reaction"][1], "reaction/message_id", ...),
    "four buttons": _with(BUTTONS, "interactive/action/buttons", [BUTTONS["interactive"]["action"]["buttons"][0]] * 4),
    "button title too long": _with(BUTTONS, "interactive/action/buttons/0/reply/title", "x" * 21),
    "no button": _with(BUTTONS, "interactive/action/buttons", []),
    "header without its file": _with(BUTTONS, "interactive/header/image", ...),
    "footer too long": _with(BUTTONS, "interactive/footer/text", "x" * 61),
    "buttons in a list": _with(BUTTONS, "interactive/type", "list"),
    "row title too long": _with(PAYLOADS["interactiveList"][1], "interactive/action/sections/0/rows/0/title", "x" * 25),
    "list without its button": _with(PAYLOADS["interactiveList"][1], "interactive/action/button", ...),
    "template without name": _with(TEMPLATE, "template/name", ...),
    "template without language": _with(TEMPLATE, "template/language", ...),
    "parameter without its value": _with(TEMPLATE, "template/components/0/parameters/0/text", ...),
    "currency without amount": _with(TEMPLATE, "template/components/0/parameters/1/currency/amount_1000", ...),
    "button without place": _with(TEMPLATE, "template/components/1/index", ...),
    "components as an object": _with(TEMPLATE, "template/components", {}),
}


@pytest.mark.parametrize("wrong", WRONG_PAYLOADS.values(), ids=WRONG_PAYLOADS)
def test_a_wrong_payload_is_rejected(wrong: Any) -> None:
    assert problems("WabaPayload", wrong) != []


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(_with(TEXT, "new_field_of_meta", {"a": 1}), id="a field that Meta adds"),
        pytest.param(_with(BUTTONS, "interactive/type", "hologram"), id="a subtype that Meta adds"),
        pytest.param(_with(TEMPLATE, "template/components/1/type", "hologram"), id="a component that Meta adds"),
        pytest.param({**_with(TEXT, "type", "hologram"), "hologram": {}}, id="a type that Meta adds"),
    ],
)
def test_what_meta_adds_tomorrow_is_valid_today(changed: dict[str, Any]) -> None:
    assert problems("WabaPayload", changed) == []


WRONG_HEADERS = {
    "no error type": _with(LETTER, "x-error-type", ...),
    "error type in small letters": _with(LETTER, "x-error-type", "rate limit"),
    "code as text": _with(LETTER, "x-error-code", "132001"),
    "status of no answer": _with(LETTER, "x-http-status", 0),
    "no attempts": _with(LETTER, "x-attempts", ...),
    "attempts below one": _with(LETTER, "x-attempts", 0),
    "moment without an offset": _with(LETTER, "x-failed-at", "2026-11-24T06:15:10"),
    "moment in words": _with(LETTER, "x-first-seen", "yesterday"),
    "retryable in words": _with(LETTER, "x-retryable", "no"),
    "neither failed nor expired": {"X-Tenant-ID": "acme"},
    "retries as a number": {**LETTER, "x-retries": 3},
    "retries of no error": {**LETTER, "x-retries": {"some error": 1}},
    "broker record without a reason": {"x-death": [{"queue": "outbound-processed"}]},
}


@pytest.mark.parametrize("wrong", WRONG_HEADERS.values(), ids=WRONG_HEADERS)
def test_wrong_headers_of_a_dead_letter_are_rejected(wrong: Any) -> None:
    assert problems("DeadLetterHeaders", LETTER) == []
    assert problems("DeadLetterHeaders", wrong) != []


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"x-attempt": -1}, id="attempt below zero"),
        pytest.param({"x-attempt": "1"}, id="attempt as text"),
        pytest.param({"x-on-unknown-outcome": "ignore"}, id="unknown instruction"),
        pytest.param({"x-resend": ""}, id="resend without a name"),
    ],
)
def test_wrong_headers_of_a_message_are_rejected(wrong: Any) -> None:
    assert problems("OutboundHeaders", {}) == []
    assert problems("OutboundHeaders", wrong) != []


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        pytest.param("DeliverySent", _with(SENT, "wamid", ...), id="sent without wamid"),
        pytest.param("DeliverySent", _with(SENT, "attempts", 0), id="sent without a send"),
        pytest.param("DeliverySent", _with(SENT, "sentAt", 1764000000), id="sent at a number"),
        pytest.param("DeliverySent", {**SENT, "waId": None}, id="sent with a null"),
        pytest.param("DeliveryAlert", _with(ALERT, "errorType", ...), id="alert without its type"),
        pytest.param("DeliveryAlert", _with(ALERT, "scope", "universe"), id="alert with another scope"),
        pytest.param("DeliveryAlert", _with(ALERT, "notify", "yes"), id="alert with a word for a switch"),
        pytest.param("DeliveryAlert", _with(ALERT, "errorCode", "190"), id="alert with a code as text"),
    ],
)
def test_a_wrong_event_is_rejected(schema: str, wrong: Any) -> None:
    assert problems(schema, wrong) != []


def test_the_document_changes_nothing_of_what_the_worker_accepts() -> None:
    """Decoding stays lenient: a text that Meta will refuse is Meta's to refuse, not ours."""
    too_long = _message(_with(TEXT, "text/body", "x" * 4097))
    assert problems("OutboundMessage", too_long) != []
    assert decode(json.dumps(too_long).encode()).payload_type == "text"
