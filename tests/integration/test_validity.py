"""Validity: a message whose time is up is not sent, whatever it waited for, and its dead letter says why."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from aio_pika.abc import AbstractIncomingMessage

from sandbox.steps import Delay, Fail
from tests.scene import Scene, number, text_message, unique

THROTTLED_ONCE = "99967"  # HTTP 400 carrying 130429 once, then success


async def publish_valid_until(stage: Scene, to: str, valid_until: object, tenant: str = "acme", **options: Any) -> str:
    internal_id = unique("valid")
    message = text_message(to, tenant, internal_id)
    message["metadata"]["validUntil"] = valid_until
    await stage.outside.publish(orjson.dumps(message), tenant, **options)
    return internal_id


def in_seconds(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def expired(letter: AbstractIncomingMessage, *words: str) -> bool:
    assert letter.headers["x-error-type"] == "MESSAGE_EXPIRED"
    assert [word for word in words if word not in str(letter.headers["x-error-detail"])] == []
    return True


async def test_a_throttled_message_is_given_up_at_once_when_its_wait_would_outlast_its_expiration(scene: Scene) -> None:
    to = number(THROTTLED_ONCE)
    internal_id = await scene.publish(to, expiration=3)
    letter = await scene.letter(internal_id, seconds=5)
    assert expired(letter, "expiration", "RATE_LIMIT", "130429")
    assert letter.headers["x-error-code"] == 130429
    assert len(scene.graph.by_recipient(to)) == 1


async def test_the_deadline_does_not_move_from_wait_to_wait(scene: Scene) -> None:
    to = number("99939500")  # HTTP 500 every time: waits of 1, 2 and 4 s
    started = time.monotonic()
    letter = await scene.letter(await scene.publish(to, expiration=6), seconds=10)
    assert expired(letter, "META_SERVER_ERROR")
    assert len(scene.graph.by_recipient(to)) == 3
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
async def test_a_message_that_is_too_late_on_arrival_is_never_sent(scene: Scene, unit: int) -> None:
    to = number()
    internal_id = await publish_valid_until(scene, to, int(time.time() - 1) * unit)
    letter = await scene.letter(internal_id)
    assert expired(letter, "metadata.validUntil")
    assert scene.graph.by_recipient(to) == []
    alert = await scene.event("outbound.alert.acme", internal_id)
    assert alert["notify"] is True


@pytest.mark.any_servers
async def test_valid_until_wins_over_the_expiration(scene: Scene) -> None:
    to = number(THROTTLED_ONCE)
    await publish_valid_until(scene, to, in_seconds(60), expiration=3)
    await scene.accepted(to, seconds=15)


async def test_a_message_whose_time_ends_while_it_waits_for_credentials_is_not_sent(scene: Scene) -> None:
    to = number()
    internal_id = await publish_valid_until(scene, to, in_seconds(0.5), unique("slow-tenant"))  # answers after 1 s
    assert expired(await scene.letter(internal_id))
    assert scene.graph.by_recipient(to) == []


async def test_a_refused_token_is_not_followed_by_a_send_after_the_end(scene: Scene) -> None:
    tenant, to = unique("slow-tenant"), number()
    await scene.publish(number(), tenant)
    await scene.until(
        lambda: scene.graph.requests[-1:] and scene.tenants.token(tenant) in scene.graph.requests[-1].token
    )
    scene.graph.revoke(scene.tenants.rotate(tenant))
    internal_id = await publish_valid_until(scene, to, in_seconds(0.8), tenant)
    assert expired(await scene.letter(internal_id), "AUTH_ERROR")
    assert len(scene.graph.by_recipient(to)) == 1


@pytest.mark.any_servers
async def test_a_message_that_outlived_its_validity_on_the_queue_names_its_last_failure(stage: Scene) -> None:
    worker = await stage.start_worker()
    await stage.watch()
    to = number("99931503")
    internal_id = await publish_valid_until(stage, to, in_seconds(4))
    await stage.logged(worker, "waiting_for_retry", internalId=internal_id)
    await stage.stop_worker(worker)
    await asyncio.sleep(4)  # until its time is up
    await stage.start_worker()
    assert expired(await stage.letter(internal_id), "META_SERVER_ERROR", "503")
    assert len(stage.graph.by_recipient(to)) == 1


async def test_a_copy_of_a_sent_message_is_a_duplicate_after_its_validity_too(scene: Scene) -> None:
    to, message = number(), text_message(number(), "acme", unique("valid"))
    message["wabaPayload"]["to"], message["metadata"]["validUntil"] = to, in_seconds(1)
    await scene.outside.publish(orjson.dumps(message), "acme")
    await scene.accepted(to)
    await asyncio.sleep(1)  # until its time is up
    await scene.outside.publish(orjson.dumps(message), "acme")
    line = await scene.logged(scene.workers[0], "duplicate", internalId=message["metadata"]["internalId"])
    assert line["firstWamid"]
    assert scene.letters_of(message["metadata"]["internalId"]) == []


async def test_a_copy_whose_time_ends_while_another_one_is_sent_learns_how_that_ended(stage: Scene) -> None:
    await stage.start_worker(META_API_MAX_RETRIES="0")
    await stage.watch()
    to, message = number(), text_message(number(), "acme", unique("valid"))
    stage.graph.script(to, [Delay(2), Fail(131016)])
    message["wabaPayload"]["to"] = to
    await stage.outside.publish(orjson.dumps(message), "acme")
    await stage.until(lambda: stage.graph.by_recipient(to))
    message["metadata"]["validUntil"] = in_seconds(1)
    await stage.outside.publish(orjson.dumps(message), "acme")
    await stage.until(lambda: len(stage.letters_of(message["metadata"]["internalId"])) == 2)
    types = {letter.headers["x-error-type"] for letter in stage.letters_of(message["metadata"]["internalId"])}
    assert types == {"META_SERVER_ERROR", "MESSAGE_EXPIRED"}
    assert len(stage.graph.by_recipient(to)) == 1


async def test_a_validity_that_cannot_be_read_is_refused_before_anything_is_sent(scene: Scene) -> None:
    to = number()
    letter = await scene.letter(await publish_valid_until(scene, to, "in five minutes"))
    assert letter.headers["x-error-type"] == "INVALID_MESSAGE"
    assert str(letter.headers["x-error-detail"]).startswith("metadata.validUntil: ")
    assert scene.graph.by_recipient(to) == []


async def test_the_worker_itself_ends_a_message_that_waits_for_longer_than_its_greatest_age(stage: Scene) -> None:
    await stage.start_worker(MESSAGE_MAX_AGE_MS="5000")
    await stage.watch()
    to = number("99910130429")
    letter = await stage.letter(await stage.publish(to), seconds=5)
    assert expired(letter, "MESSAGE_MAX_AGE_MS", "RATE_LIMIT")
    assert len(stage.graph.by_recipient(to)) == 1


async def test_the_age_counts_from_the_first_sight(scene: Scene) -> None:
    to, yesterday = number(), datetime.now(UTC) - timedelta(hours=24, seconds=1)
    internal_id = await scene.publish(to, headers={"x-first-seen": yesterday.isoformat(), "x-attempt": 40})
    assert expired(await scene.letter(internal_id), "MESSAGE_MAX_AGE_MS")
    assert scene.graph.by_recipient(to) == []
