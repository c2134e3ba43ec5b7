"""Dead letters: at once when nothing helps, with the original bytes and the whole reason."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aio_pika.abc import AbstractIncomingMessage

from tests.scene import Scene, number, text_message, unique


@pytest.mark.parametrize(
    ("code", "subcode", "error_type"),
    [
        (100, 2388001, "TEMPLATE_NOT_FOUND"),
        (100, 2388002, "TEMPLATE_PARAMS_MISMATCH"),
        (100, 2388003, "INVALID_PHONE"),
        (100, 2388009, "RECIPIENT_NOT_ON_WHATSAPP"),
        (100, 2388054, "PHONE_NOT_REGISTERED"),
        (2388019, None, "TEMPLATE_LIMIT"),
        (131047, None, "WINDOW_EXPIRED"),
        (131045, None, "PHONE_NOT_REGISTERED"),  # arrives as HTTP 500
    ],
)
async def test_an_error_that_does_not_heal_is_dead_lettered_after_one_send(
    scene: Scene, code: int, subcode: int | None, error_type: str
) -> None:
    to = number(f"9991{subcode or code:07}")
    internal_id = await scene.publish(to)
    letter = await scene.letter(internal_id)
    assert letter.headers["x-error-type"] == error_type
    assert letter.headers["x-error-code"] == code
    assert letter.headers.get("x-error-subcode") == subcode
    assert letter.headers["x-attempts"] == 1
    assert letter.headers["x-retryable"] is False
    assert len(scene.graph.by_recipient(to)) == 1


async def test_a_dead_letter_carries_the_whole_reason(scene: Scene) -> None:
    before = datetime.now(UTC)
    to, tenant = number("99910131047"), unique("reason")
    internal_id = await scene.publish(to, tenant)
    headers = (await scene.letter(internal_id)).headers
    assert str(headers["x-error-detail"]).startswith("(#131047)")
    assert headers["x-http-status"] == 400
    assert headers["x-tenant-id"] == tenant
    assert headers["x-internal-id"] == internal_id
    assert headers["x-fbtrace-id"]
    first_seen = datetime.fromisoformat(str(headers["x-first-seen"]))
    failed_at = datetime.fromisoformat(str(headers["x-failed-at"]))
    assert before - timedelta(seconds=1) <= first_seen <= failed_at
    assert headers["x-original-routing-key"] == f"outbound.processed.{tenant}"


@pytest.mark.parametrize(
    "body",
    [
        b"this is not JSON",
        b"",
        b"\xff\xfe\x00garbage",
        b'{"metadata": {"tenantId": "a"',
        b"[1, 2, 3]",
        b'{"metadata": NaN}',
        b"[" * 10_000,
    ],
)
async def test_garbage_is_dead_lettered_with_its_bytes_intact(scene: Scene, body: bytes) -> None:
    def found() -> list[AbstractIncomingMessage]:
        return [letter for letter in scene.letters if letter.body == body]

    await scene.outside.publish(body, "garbage")
    await scene.until(found)
    headers = found()[0].headers
    assert headers["x-error-type"] == "INVALID_MESSAGE"
    assert str(headers["x-error-detail"]).startswith("body: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metadata.tenantId", "a\x00b"),
        ("metadata.tenantId", "x" * 10_000),
        ("metadata.phoneNumberId", "1/../2"),
        ("metadata.phoneNumberId", "one"),
        ("metadata.internalId", "line\nbreak"),
        ("wabaPayload.to", "US.13491208655302741918"),
        ("wabaPayload.type", ""),
    ],
)
async def test_a_hostile_field_is_dead_lettered_by_name_with_the_ids_that_are_right_and_no_request_leaves(
    scene: Scene, field: str, value: str
) -> None:
    marker, tenant = unique("marker"), unique("hostile")
    message: dict[str, Any] = {**text_message(number(), tenant, marker), "marker": marker}
    section, name = field.split(".")
    message[section][name] = value
    requests = len(scene.graph.requests)
    await scene.outside.publish(orjson.dumps(message), "acme")
    letter = await scene.letter(marker)
    assert letter.headers["x-error-type"] == "INVALID_MESSAGE"
    assert str(letter.headers["x-error-detail"]).startswith(f"{field}: ")
    assert letter.headers.get("x-tenant-id") == (None if name == "tenantId" else tenant)
    assert letter.headers.get("x-internal-id") == (None if name == "internalId" else marker)
    assert orjson.loads(letter.body) == message
    assert len(scene.graph.requests) == requests


async def test_every_property_and_header_that_came_in_leaves_with_the_dead_letter(scene: Scene) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    headers: dict[str, Any] = {
        "X-Tenant-ID": "acme",
        "X-Correlation-ID": "c-1",
        "number": 2**40,
        "flag": True,
        "nothing": None,
        "nested": {"list": [1, "two", {"three": 3}]},
        "when": moment,
        "x-death": [{"queue": "elsewhere", "count": 1}],
        "CC": ["outbound.failed"],
    }
    internal_id = await scene.publish(
        number("99910131047"),
        headers=headers,
        content_type="application/json",
        content_encoding="identity",
        correlation_id="c-1",
        message_id="m-1",
        reply_to="answers",
        timestamp=moment,
        type="outbound",
        app_id="upstream",
        priority=5,
        expiration=60,
    )
    letter = await scene.letter(internal_id)
    for name in ("X-Tenant-ID", "X-Correlation-ID", "number", "flag", "nothing", "nested", "when"):
        assert letter.headers[name] == headers[name]
    assert letter.content_type == "application/json"
    assert letter.content_encoding == "identity"
    assert letter.correlation_id == "c-1"
    assert letter.message_id == "m-1"
    assert letter.reply_to == "answers"
    assert letter.timestamp == moment
    assert letter.type == "outbound"
    assert letter.app_id == "upstream"
    assert letter.priority == 5
    # What the broker would act on travels under another name, so the letter neither expires nor multiplies.
    assert letter.expiration is None
    assert letter.headers["x-original-expiration"] == "60000"  # milliseconds, as in AMQP
    assert letter.headers["x-original-cc"] == ["outbound.failed"]
    await asyncio.sleep(0)
    assert len(scene.letters_of(internal_id)) == 1


async def test_a_message_that_waits_twice_is_not_dropped_as_a_dead_letter_cycle(scene: Scene) -> None:
    to = number("99932500")  # waits on the delay levels, comes back, waits there again
    await scene.publish(to, headers={"x-death": [{"queue": "outbound-processed", "reason": "expired", "count": 1}]})
    await scene.accepted(to, seconds=15)


async def test_a_message_that_expires_on_the_intake_queue_lands_there_by_the_brokers_own_hand(stage: Scene) -> None:
    await stage.declare()
    await stage.watch()
    internal_id = await stage.publish(number(), expiration=0.05)
    letter = await stage.letter(internal_id)
    deaths = letter.headers["x-death"]
    assert isinstance(deaths, list)
    assert isinstance(deaths[0], dict)
    assert deaths[0]["reason"] == "expired"
    assert deaths[0]["queue"] == "outbound-processed"


async def test_an_alert_names_code_template_meaning_and_advice(scene: Scene) -> None:
    to, tenant = number("99910132001"), unique("alerts")
    template = {"name": "spring_sale", "language": {"code": "en"}}
    payload = {"messaging_product": "whatsapp", "to": to, "type": "template", "template": template}
    internal_id = await scene.publish(to, tenant, payload=payload)
    alert = await scene.event(f"outbound.alert.{tenant}", internal_id)
    assert alert["errorType"] == "TEMPLATE_NOT_FOUND"
    assert alert["errorCode"] == 132001
    assert alert["templateName"] == "spring_sale"
    assert alert["scope"] == "tenant"
    assert (alert["alert"], alert["notify"]) == (True, False)
    assert alert["meaning"]
    assert alert["advice"]


async def test_an_error_that_nobody_must_act_on_raises_no_alert(scene: Scene) -> None:
    tenant = unique("quiet")
    internal_id = await scene.publish(number("99912388003"), tenant)
    await scene.letter(internal_id)
    following = await scene.publish(number("99910131047"), tenant)  # one that does, to know that we would have seen it
    await scene.event(f"outbound.alert.{tenant}", following)
    assert [body["internalId"] for key, body in scene.events if key == f"outbound.alert.{tenant}"] == [following]


async def test_headers_that_amqp_cannot_carry_twice_leave_the_message_to_the_broker(scene: Scene) -> None:
    internal_id = await scene.publish(number("99910131047"), headers={"huge": "x" * 110_000})
    letter = await scene.letter(internal_id)
    deaths = letter.headers["x-death"]
    assert isinstance(deaths, list)
    assert isinstance(deaths[0], dict)
    assert deaths[0]["reason"] == "rejected"
    to = number()
    await scene.publish(to)
    await scene.accepted(to)  # and the worker goes on
