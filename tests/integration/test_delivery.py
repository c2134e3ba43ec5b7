"""A message that nothing is wrong with: delivered once, unchanged, and told about."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.scene import Scene, management, number, text_message, unique

PAYLOADS = sorted((Path(__file__).parent.parent / "payloads").glob("*.json"))


async def test_every_documented_payload_reaches_meta_byte_for_byte(scene: Scene) -> None:
    assert len(PAYLOADS) >= 40
    sent = {}
    for path in PAYLOADS:
        payload = path.read_bytes().strip()
        internal_id = unique(path.stem)
        head = orjson.dumps(text_message("", "acme", internal_id)["metadata"])
        await scene.outside.publish(b'{"metadata": ' + head + b', "wabaPayload": ' + payload + b"}", "acme")
        sent[internal_id] = payload
    for internal_id in sent:
        await scene.event("outbound.sent.acme", internal_id)
    arrived = {request.body for request in scene.graph.accepted}
    assert [name for name, payload in sent.items() if payload not in arrived] == []


async def test_a_publish_through_the_management_api_is_delivered_and_logged(scene: Scene) -> None:
    to, internal_id = number(), unique("manual")
    body = {
        "properties": {},
        "routing_key": "outbound.processed.test-tenant",
        "payload": orjson.dumps(text_message(to, "test-tenant", internal_id)).decode(),
        "payload_encoding": "string",
    }
    async with management(scene.world) as api:
        answer = await api.post("/api/exchanges/%2Fwhatsapp/whatsapp-exchange/publish", json=body)
    assert answer.json() == {"routed": True}
    request = await scene.accepted(to)
    line = await scene.logged(scene.workers[0], "delivered", internalId=internal_id)
    assert line["wamid"] == request.wamid
    assert line["tenantId"] == "test-tenant"
    assert line["level"] == "info"
    await scene.settled()


async def test_the_sent_event_says_what_a_consumer_needs(scene: Scene) -> None:
    to, tenant = number(), unique("events")
    message = text_message(to, tenant, unique("id"))
    message["metadata"]["correlationId"] = "order-4711"
    await scene.outside.publish(orjson.dumps(message), tenant)
    event = await scene.event(f"outbound.sent.{tenant}", message["metadata"]["internalId"])
    request = await scene.accepted(to)
    assert event["wamid"] == request.wamid
    assert event["waId"] == to
    assert event["correlationId"] == "order-4711"
    assert event["tenantId"] == tenant
    assert event["phoneNumberId"] == "100000001"
    assert event["attempts"] == 1
    assert event["processMs"] > 0
    assert event["firstSeenAt"] <= event["sentAt"]


async def test_a_held_message_is_sent_and_its_status_is_told(scene: Scene) -> None:
    internal_id = await scene.publish(number("99961"))
    event = await scene.event("outbound.sent.acme", internal_id)
    assert event["messageStatus"] == "held_for_quality_assessment"


async def test_a_type_that_meta_adds_tomorrow_is_forwarded(scene: Scene) -> None:
    to = number()
    payload = {"messaging_product": "whatsapp", "to": to, "type": "poll", "poll": {"question": "Tea?"}}
    await scene.publish(to, payload=payload)
    assert (await scene.accepted(to)).payload == payload


async def test_meta_sees_version_user_agent_and_the_messages_own_number(scene: Scene) -> None:
    to = number()
    await scene.publish(to)
    request = await scene.accepted(to)
    assert request.version == "v26.0"
    assert request.phone_number_id == "100000001"
    assert request.user_agent.startswith("whatsapp-stream/")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/octet-stream", "application/json"])
async def test_no_content_type_is_assumed(scene: Scene, content_type: str | None) -> None:
    to = number()
    await scene.publish(to, content_type=content_type)
    await scene.accepted(to)


async def test_the_recipients_number_is_masked_in_the_log(scene: Scene) -> None:
    to = number()
    internal_id = await scene.publish(to)
    line = await scene.logged(scene.workers[0], "delivered", internalId=internal_id)
    assert line["recipient"] == f"***{to[-4:]}"
    assert to not in scene.workers[0].log.read_text()
