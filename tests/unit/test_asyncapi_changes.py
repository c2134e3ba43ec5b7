"""A change of the contract is seen: compared with the last released one, breaking changes are named in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from asyncapi.build import RELEASED
from asyncapi.changes.contract import breaking_changes
from tests.contract import contract

Node = dict[str, Any]


def _after(change: Callable[[Node], object]) -> list[str]:
    """The breaking changes that one change of the present document makes."""
    changed = deepcopy(contract())
    change(changed)
    return breaking_changes(contract(), changed)


def _schema(document: Node, name: str) -> Node:
    schema: Node = document["components"]["schemas"][name]
    return schema


def _field(document: Node, name: str, field: str) -> Node:
    found: Node = _schema(document, name)["properties"][field]
    return found


def test_nothing_breaks_the_released_contract() -> None:
    released = json.loads(RELEASED.read_text(encoding="utf-8"))
    assert breaking_changes(released, contract()) == [], (
        "A publisher or a consumer would break. If it must be: raise the major version, tell them, then run "
        "`make asyncapi-release`."
    )


def test_the_same_contract_has_no_breaking_change() -> None:
    assert breaking_changes(contract(), deepcopy(contract())) == []


def test_a_renamed_channel_is_named() -> None:
    def rename(document: Node) -> None:
        document["channels"]["outbox"] = document["channels"].pop("sent")

    assert _after(rename) == ["Channel sent was renamed to outbox."]


def test_a_removed_channel_is_named() -> None:
    assert _after(lambda document: document["channels"].pop("alert")) == [
        "Channel alert (outbound.alert.{tenantId}) was removed."
    ]


def test_a_changed_routing_key_is_named() -> None:
    assert _after(lambda document: document["channels"]["intake"].update(address="outbound.ready.{tenantId}")) == [
        "Channel intake: the routing key was outbound.processed.{tenantId}, now it is outbound.ready.{tenantId}."
    ]


def test_a_changed_queue_argument_is_named() -> None:
    def change(document: Node) -> None:
        document["channels"]["intake"]["bindings"]["amqp"]["queue"]["arguments"]["x-message-ttl"] = 1000

    assert _after(change) == ["Channel intake: the queue's x-message-ttl was 86400000, now it is 1000."]


def test_a_changed_exchange_is_named() -> None:
    def change(document: Node) -> None:
        document["channels"]["sent"]["bindings"]["amqp"]["exchange"]["name"] = "events"

    assert _after(change) == ["Channel sent: the exchange's name was whatsapp-exchange, now it is events."]


def test_a_changed_binding_is_named() -> None:
    def change(document: Node) -> None:
        document["channels"]["deadLetters"]["bindings"]["amqp"]["x-bindings"][0]["routingKey"] = "#"

    (sentence,) = _after(change)
    assert sentence.startswith("Channel deadLetters: the queue's bindings were ")


def test_a_removed_message_is_named() -> None:
    def change(document: Node) -> None:
        document["channels"]["sent"]["messages"] = {"Other": {}}

    assert _after(change) == ["Channel sent: the message DeliverySent was removed."]


def test_a_turned_operation_is_named() -> None:
    assert _after(lambda document: document["operations"]["deliver"].update(action="send")) == [
        "Channel intake: the worker's action was receive, now it is send."
    ]


def test_another_content_type_is_named() -> None:
    def change(document: Node) -> None:
        document["components"]["messages"]["DeliverySent"]["contentType"] = "application/cbor"

    assert _after(change) == ["DeliverySent: the content type was application/json, now it is application/cbor."]


def test_a_field_that_was_removed_from_an_event_is_named() -> None:
    assert _after(lambda document: _schema(document, "DeliverySent")["properties"].pop("wamid")) == [
        "DeliverySent.wamid: the field was removed."
    ]


def test_a_removed_header_is_named() -> None:
    assert "DeadLetter headers (FailureHeaders).x-fbtrace-id: the field was removed." in _after(
        lambda document: _schema(document, "FailureHeaders")["properties"].pop("x-fbtrace-id")
    )


def test_a_field_that_may_be_missing_from_an_event_is_named() -> None:
    assert _after(lambda document: _schema(document, "DeliverySent")["required"].remove("wamid")) == [
        "DeliverySent.wamid: the field may be missing now."
    ]


def test_a_field_that_publishers_must_add_is_named() -> None:
    assert "OutboundMessage.metadata.correlationId: the field is required now." in _after(
        lambda document: _schema(document, "Metadata")["required"].append("correlationId")
    )


def test_a_narrowed_type_is_named() -> None:
    assert "OutboundMessage.metadata.timestamp: the type was null or number or string, now only string is allowed." in (
        _after(lambda document: _field(document, "Metadata", "timestamp").update(type="string"))
    )


def test_a_type_that_consumers_have_not_met_is_named() -> None:
    assert _after(
        lambda document: _field(document, "DeliveryAlert", "errorCode").update(type=["integer", "string"])
    ) == ["DeliveryAlert.errorCode: the type was integer, now it may be integer or string."]


@pytest.mark.parametrize(
    ("rule", "value", "sentence"),
    [
        ("maxLength", 1000, "maxLength was 4096, now it is 1000"),
        ("minLength", 5, "minLength was 1, now it is 5"),
        ("pattern", "^[a-z]+$", "it must now match ^[a-z]+$"),
        ("enum", ["Hello"], "the values were anything, now only Hello are allowed"),
    ],
)
def test_a_tighter_limit_is_named(rule: str, value: Any, sentence: str) -> None:
    found = _after(lambda document: _field(document, "TextContent", "body").update({rule: value}))
    assert f"OutboundMessage.wabaPayload (TextPayload).text.body: {sentence}." in found


def test_a_value_that_consumers_have_not_met_is_named() -> None:
    (sentence,) = _after(lambda document: _field(document, "DeliveryAlert", "scope")["enum"].append("continent"))
    assert sentence.startswith("DeliveryAlert.scope: the values were ")
    assert "continent" in sentence


def test_a_payload_type_that_is_no_longer_allowed_is_named() -> None:
    assert "OutboundMessage.wabaPayload: StickerPayload is no longer allowed." in _after(
        lambda document: _schema(document, "WabaPayload")["oneOf"].remove(
            {"$ref": "#/components/schemas/StickerPayload"}
        )
    )


def test_a_new_choice_between_fields_is_named() -> None:
    choice = [{"required": ["body"]}, {"required": ["preview_url"]}]
    assert "OutboundMessage.wabaPayload (TextPayload).text: one of body or preview_url is required now." in _after(
        lambda document: _schema(document, "TextContent").update(anyOf=choice)
    )


def test_what_is_shared_by_many_is_named_once() -> None:
    found = _after(lambda document: _field(document, "Envelope", "to").update(type="integer"))
    assert len([sentence for sentence in found if sentence.startswith("OutboundMessage.")]) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda document: _schema(document, "DeliverySent")["properties"].update(price={"type": "number"}),
            id="a new field of an event",
        ),
        pytest.param(
            lambda document: _schema(document, "Metadata")["properties"].update(region={"type": "string"}),
            id="a new optional field",
        ),
        pytest.param(
            lambda document: _field(document, "TextContent", "body").update(maxLength=8192), id="a wider limit"
        ),
        pytest.param(
            lambda document: _schema(document, "Metadata")["required"].remove("internalId"),
            id="a field that publishers may leave out",
        ),
        pytest.param(lambda document: document["info"].update(description="Other words"), id="other words"),
        pytest.param(
            lambda document: document["channels"].update(news={**document["channels"]["sent"], "address": "news"}),
            id="a new channel",
        ),
    ],
)
def test_a_change_that_breaks_nobody_is_not_named(change: Callable[[Node], object]) -> None:
    assert _after(change) == []
