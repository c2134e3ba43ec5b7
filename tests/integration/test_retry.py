"""Retries: counted in headers, waited for on the broker."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest

from sandbox.steps import Fail
from tests.scene import Scene, number, unique

ALWAYS_500, TWICE_500, PAIR_LIMITED = "99939500", "99932500", "999220131056"


@dataclass(frozen=True)
class Retried:
    """A message that is retried: its recipient, tenant and id."""

    to: str
    tenant: str
    internal_id: str


@pytest.fixture(scope="module")
async def retried(scene: Scene) -> dict[str, Retried]:
    """Messages by their number's prefix, published at once: most of a retry is a wait."""

    async def publish(prefix: str) -> Retried:
        to, tenant = number(prefix), unique("retried")
        return Retried(to, tenant, await scene.publish(to, tenant))

    return {prefix: await publish(prefix) for prefix in (ALWAYS_500, TWICE_500, PAIR_LIMITED)}


async def test_a_500_on_every_try_means_four_sends_and_growing_waits(scene: Scene, retried: dict[str, Retried]) -> None:
    to, internal_id = retried[ALWAYS_500].to, retried[ALWAYS_500].internal_id
    letter = await scene.letter(internal_id, seconds=20)
    arrivals = scene.graph.arrivals(to)
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert len(arrivals) == 4
    for gap, least in zip(gaps, (1, 2, 4), strict=True):
        assert least <= gap < least + 1 + 1.25, gaps  # one second of jitter, one unit of the delay levels, and the way
    assert letter.headers["x-error-type"] == "META_SERVER_ERROR"
    assert letter.headers["x-attempts"] == 4
    assert letter.headers["x-http-status"] == 500
    assert letter.headers["x-retryable"] is True


async def test_two_500s_then_success_is_delivered_on_the_third_send(scene: Scene, retried: dict[str, Retried]) -> None:
    message = retried[TWICE_500]
    event = await scene.event(f"outbound.sent.{message.tenant}", message.internal_id, seconds=15)
    assert event["attempts"] == 3
    assert len(scene.taken(message.to)) == 1


async def test_a_network_error_is_retried(scene: Scene) -> None:
    to = number("999510")  # the connection is reset once, before Meta takes the message
    await scene.publish(to)
    await scene.accepted(to)
    assert len(scene.graph.by_recipient(to)) == 2


async def test_a_message_that_waits_keeps_its_content_and_arrives_once(scene: Scene) -> None:
    to, payload = number("99931503"), {"messaging_product": "whatsapp", "type": "text", "text": {"body": "ü \u2603"}}
    payload["to"] = to
    await scene.publish(to, payload=payload)
    request = await scene.accepted(to)
    assert request.payload == payload
    assert len(scene.taken(to)) == 1


async def test_waiting_messages_hold_no_prefetch_slot_and_delay_nobody(stage: Scene) -> None:
    await stage.start_worker(RABBITMQ_PREFETCH="2", META_API_RETRY_DELAY_MS="30000", CIRCUIT_FAILURES="0")
    failing = [number("99931500") for _ in range(8)]
    for to in failing:
        await stage.publish(to)
    healthy = number()
    await stage.publish(healthy)
    await stage.accepted(healthy, seconds=5)
    await stage.until(lambda: all(stage.graph.by_recipient(to) for to in failing))
    await stage.settled_to(waiting=8)


async def test_a_short_wait_passes_a_long_one(stage: Scene) -> None:
    await stage.start_worker(META_API_RETRY_DELAY_MS="1")
    long_wait, short_wait = number("999210131057"), number("99931500")  # 15 s for maintenance, about 1 s for a 500
    await stage.publish(long_wait)
    await stage.until(lambda: stage.graph.by_recipient(long_wait))
    await stage.publish(short_wait)
    await stage.accepted(short_wait, seconds=5)
    assert not stage.taken(long_wait)


async def test_the_count_survives_a_restart_of_the_worker(stage: Scene) -> None:
    first = await stage.start_worker(META_API_RETRY_DELAY_MS="100")
    await stage.watch()
    to = number(ALWAYS_500)
    internal_id = await stage.publish(to)
    await stage.until(lambda: len(stage.graph.arrivals(to)) == 2)
    await stage.stop_worker(first)
    await stage.start_worker(META_API_RETRY_DELAY_MS="100")
    letter = await stage.letter(internal_id, seconds=20)
    assert letter.headers["x-attempts"] == 4
    assert len(stage.graph.arrivals(to)) == 4


async def test_the_number_of_retries_is_a_setting(stage: Scene) -> None:
    await stage.start_worker(META_API_MAX_RETRIES="1")
    await stage.watch()
    to = number("99939500")
    letter = await stage.letter(await stage.publish(to))
    assert letter.headers["x-attempts"] == 2


@pytest.mark.any_servers
async def test_throttling_waits_its_own_base_delay_and_uses_up_no_retry(stage: Scene) -> None:
    await stage.start_worker(META_API_MAX_RETRIES="0")
    to = number("99967")  # HTTP 400 carrying 130429 once
    await stage.publish(to)
    await stage.accepted(to, seconds=15)
    first, second = stage.graph.arrivals(to)
    assert 10 <= second - first < 12


async def test_the_pair_limit_waits_for_that_recipient_only(scene: Scene, retried: dict[str, Retried]) -> None:
    limited = retried[PAIR_LIMITED].to
    await scene.accepted(limited, seconds=15)
    first, second, third = scene.graph.arrivals(limited)
    assert 1 <= second - first < 3.25
    assert 4 <= third - second < 6.25
    assert scene.graph.arrivals(retried[TWICE_500].to)[1] < third, "of the same phone number"


async def test_a_media_download_is_retried_once(scene: Scene) -> None:
    ids = {}
    for answer in (Fail(100, 2388005), Fail(131000, 2388005), Fail(2388005), Fail(131053)):
        to = number()
        scene.graph.script(to, [answer] * 3)
        ids[to] = await scene.publish(to)
    for to, internal_id in ids.items():
        letter = await scene.letter(internal_id)
        assert letter.headers["x-error-type"] == "MEDIA_DOWNLOAD_FAILED"
        assert len(scene.graph.by_recipient(to)) == 2


@pytest.mark.any_servers
async def test_a_tenant_service_that_is_down_makes_messages_wait_and_then_they_are_delivered(scene: Scene) -> None:
    tenant, to = unique("unlucky"), number()
    scene.tenants.fail_with(503)
    try:
        internal_id = await scene.publish(to, tenant)
        line = await scene.logged(scene.workers[0], "waiting_for_retry", seconds=15, internalId=internal_id)
        assert line["errorType"] == "TENANT_SERVICE_UNAVAILABLE"
        await scene.until(lambda: scene.tenants.fetches[tenant] == 3)
    finally:
        scene.tenants.fail_with(None)
    await scene.accepted(to)


@pytest.mark.parametrize("kind", [pytest.param("classic", marks=pytest.mark.any_servers), "quorum"])
async def test_a_priority_does_not_hold_back_what_waits_and_is_its_dead_letters_again(stage: Scene, kind: str) -> None:
    await stage.start_worker(RABBITMQ_QUEUE_TYPE=kind, META_API_RETRY_DELAY_MS="3000", CIRCUIT_FAILURES="0")
    await stage.watch()
    first, urgent = number("99931500"), number("99931500")
    await stage.publish(first, priority=0)
    await stage.until(lambda: stage.graph.by_recipient(first))
    for _ in range(10):  # each waits behind the first, and would be at the head of its level
        urgent = number("99931500")
        await stage.publish(urgent, priority=9)
    await stage.accepted(first, seconds=15)
    await stage.accepted(urgent, seconds=15)
    started, ended = stage.graph.arrivals(first)
    assert 3 <= ended - started < 5  # 3 s, up to 1 s of jitter, and a level's own time
    refused = number("99921131000")  # fails once, then is refused: it has waited
    stage.graph.script(refused, [Fail(131000), Fail(131047)])
    letter = await stage.letter(await stage.publish(refused, priority=7), seconds=15)
    assert letter.headers["x-attempts"] == 2
    assert letter.priority == 7
