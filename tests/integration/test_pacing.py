"""Rate limits that all replicas keep together, on real servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest

from sandbox.redis import PrivateRedis
from sandbox.steps import Fail
from sandbox.worker import WorkerProcess
from tests.scene import Scene, number, unique
from tests.turns import kept, turns_of

pytestmark = pytest.mark.any_servers  # what Redis does for rate limits: test_pace_script.py


def arrivals(scene: Scene, recipients: Iterable[str]) -> list[float]:
    """When requests for them arrived, in seconds since the epoch, as turns are."""
    return sorted(request.received_wall for to in recipients for request in scene.graph.by_recipient(to))


def pace_waits(worker: WorkerProcess) -> list[dict[str, object]]:
    return [line for line in worker.lines() if line.get("event") == "waiting_for_pace"]


async def publish(scene: Scene, tenant: str, recipients: Iterable[str]) -> None:
    await asyncio.gather(*(scene.publish(to, tenant) for to in recipients))


async def unlimited_per_s(scene: Scene) -> float:
    """How many messages of many numbers the same replicas send in a second, on this machine as busy as it is now."""
    recipients, tenants = [number() for _ in range(300)], [unique("unlimited") for _ in range(30)]
    await asyncio.gather(*(scene.publish(to, tenants[each % 30]) for each, to in enumerate(recipients)))
    await scene.all_accepted(recipients)
    moments = arrivals(scene, recipients)
    return len(moments) / (moments[-1] - moments[0])


async def test_three_replicas_together_keep_the_limit_of_a_number_and_use_nine_tenths_of_it(stage: Scene) -> None:
    rate, messages = 50, 600
    for _ in range(3):
        await stage.start_worker(PHONE_NUMBER_RATE=str(rate), RABBITMQ_PREFETCH="50")
    possible = await unlimited_per_s(stage)
    tenant, recipients = unique("paced"), [number() for _ in range(messages)]
    async with turns_of(tenant, stage.world.redis.url) as turns:
        await publish(stage, tenant, recipients)
        await stage.all_accepted(recipients, 60)
        await stage.settled()
    moments = arrivals(stage, recipients)
    assert len(moments) == len(turns) == messages, "each was sent once"
    assert kept(turns, rate, burst=rate)
    assert all(moment >= turn for turn, moment in zip(turns, moments, strict=True)), "none before its turn"
    # A paced message costs more. A machine that sends fewer than three times the limit without one cannot use it all.
    assert (messages - rate) / (turns[-1] - turns[0]) >= 0.9 * min(rate, possible / 3)
    waits = [await stage.metrics(worker) for worker in stage.workers]
    paced = sum(each.get('messages_paced_total{limit="phone_number"}', 0) for each in waits)
    assert 0 < paced <= messages, "each waited once at most"


async def test_the_limit_that_the_credentials_name_wins(stage: Scene) -> None:
    tenant = unique("slow")
    stage.tenants.rates[tenant] = 4.0
    await stage.start_worker(PHONE_NUMBER_RATE="1000")
    first, recipients = number(), [number() for _ in range(12)]
    await publish(stage, tenant, [first])
    await stage.accepted(first)  # now the process knows the credentials
    async with turns_of(tenant, stage.world.redis.url) as turns:
        await publish(stage, tenant, recipients)
        await stage.all_accepted(recipients)
    assert kept(turns, rate=4, burst=4)
    assert len(turns) == len(recipients)


async def test_one_recipient_gets_its_burst_and_then_one_an_interval_and_holds_nobody_else_up(stage: Scene) -> None:
    worker = await stage.start_worker(PAIR_INTERVAL_MS="1000", PAIR_BURST="5", RABBITMQ_PREFETCH="4")
    tenant, to, other = unique("pair"), number(), number()
    async with turns_of(tenant, stage.world.redis.url) as turns:
        for _ in range(8):
            await stage.publish(to, tenant)
        await stage.until(lambda: len(stage.taken(to)) == 8, 10)
    assert kept(turns, rate=1, burst=5)
    assert len(turns) == 8
    assert (await stage.metrics(worker))['messages_paced_total{limit="pair"}'] <= 3, "the burst did not wait"
    await publish(stage, tenant, [to] * 5)
    await stage.publish(other, tenant)
    await stage.accepted(other)
    assert len(stage.taken(to)) < 13


async def test_a_tenant_may_send_a_minutes_worth_at_once_and_then_its_rate(stage: Scene) -> None:
    worker = await stage.start_worker(TENANT_RATE_PER_MINUTE="60")
    tenant, recipients = unique("minute"), [number() for _ in range(62)]
    async with turns_of(tenant, stage.world.redis.url) as turns:
        await publish(stage, tenant, recipients)
        await stage.all_accepted(recipients, 20)
    assert kept(turns, rate=1, burst=60)
    assert len(turns) == len(recipients)
    assert 1 <= (await stage.metrics(worker))['messages_paced_total{limit="tenant"}'] <= 2, "the burst did not wait"


async def test_a_message_whose_validity_ends_before_its_turn_is_dead_lettered_then_and_takes_nobodys_turn(
    stage: Scene,
) -> None:
    await stage.start_worker(PAIR_INTERVAL_MS="60000", PAIR_BURST="1")
    await stage.watch()
    tenant, to = unique("valid"), number()
    await stage.publish(to, tenant)
    await stage.accepted(to)
    published = time.monotonic()
    late = await stage.publish(to, tenant, expiration=2)
    letter = await stage.letter(late)
    assert 1.5 < time.monotonic() - published < 6
    assert letter.headers["x-error-type"] == "MESSAGE_EXPIRED"
    assert len(stage.graph.by_recipient(to)) == 1


async def test_reservations_of_replicas_that_are_killed_hold_nobody_up(stage: Scene) -> None:
    tenant, recipients = unique("killed"), [number() for _ in range(200)]
    worker = await stage.start_worker(PHONE_NUMBER_RATE="40", META_API_TIMEOUT_MS="1000")
    async with turns_of(tenant, stage.world.redis.url) as turns:
        await publish(stage, tenant, recipients)
        for _ in range(3):
            before = sum(stage.accepted_of(recipients))
            await stage.until(lambda before=before: sum(stage.accepted_of(recipients)) > before)  # type: ignore[misc]
            await asyncio.to_thread(worker.kill)
            worker = await stage.start_worker(PHONE_NUMBER_RATE="40", META_API_TIMEOUT_MS="1000")
        await stage.all_accepted(recipients, 60)
        await stage.settled()
    assert kept(turns, rate=40, burst=40)


async def test_a_refusal_halves_the_rate_of_the_number_for_all_replicas_and_it_climbs_back(stage: Scene) -> None:
    workers = [await stage.start_worker(PHONE_NUMBER_RATE="40") for _ in range(2)]
    tenant, refused, recipients = unique("cut"), [number(), number()], [number() for _ in range(100)]
    for to in refused:
        stage.graph.script(to, [Fail(130429)])
    await publish(stage, tenant, refused[:1])
    await stage.until(lambda: _cuts(workers))
    assert [(line["fromPerSecond"], line["toPerSecond"]) for line in _cuts(workers)] == [(40.0, 20.0)]
    async with turns_of(tenant, stage.world.redis.url) as turns:
        await publish(stage, tenant, recipients)
        await stage.all_accepted([*refused[:1], *recipients], 20)
    assert kept(turns, rate=25, burst=25), "20, which has grown by 40 / 120 a second since"
    await publish(stage, tenant, refused[1:])
    await stage.until(lambda: len(_cuts(workers)) == 2)
    assert max(float(line["fromPerSecond"]) for line in _cuts(workers)) == 40
    assert 20 < min(float(line["fromPerSecond"]) for line in _cuts(workers)) < 30


def _cuts(workers: Iterable[WorkerProcess]) -> list[dict[str, Any]]:
    return [line for worker in workers for line in worker.lines() if line.get("event") == "rate_cut"]


async def test_a_refused_pair_backs_off_longer_each_time_and_nobody_else_waits(stage: Scene) -> None:
    await stage.start_worker(PAIR_INTERVAL_MS="10", PAIR_BURST="5")
    tenant, to, others = unique("pair"), number(), [number() for _ in range(5)]
    stage.graph.script(to, [Fail(131056), Fail(131056)])
    await stage.publish(to, tenant)
    await stage.until(lambda: len(stage.graph.by_recipient(to)) == 2)
    await publish(stage, tenant, others)
    await stage.all_accepted(others)
    await stage.accepted(to, 15)
    first, second, third = arrivals(stage, [to])
    assert second - first >= 1
    assert third - second >= 4
    assert arrivals(stage, others)[-1] < third


async def test_an_account_that_made_too_many_calls_pauses_for_as_long_as_meta_estimates_and_alone(
    stage: Scene,
) -> None:
    await stage.start_worker()
    tenant, to, behind, bystander = unique("calls"), number(), number(), number()
    stage.graph.script(to, [Fail(80007, regain_minutes=0.05)])
    await stage.publish(to, tenant)
    await stage.until(lambda: len(stage.graph.by_recipient(to)) == 1)
    refused = stage.graph.arrivals(to)[0]
    await stage.logged(stage.workers[0], "paused", limit="tenant")
    await stage.publish(behind, tenant)
    await stage.publish(bystander, unique("bystander"))
    await stage.all_accepted([to, behind, bystander], 10)
    assert stage.graph.arrivals(bystander)[0] < stage.graph.arrivals(behind)[0]
    assert stage.graph.arrivals(to)[1] - refused >= 3
    assert stage.graph.arrivals(behind)[0] - refused >= 2.9


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_without_redis_a_replica_paces_alone_or_lets_messages_wait(broken: Scene, mode: str) -> None:
    redis = broken.world.redis
    assert isinstance(redis, PrivateRedis)
    worker = await broken.start_worker(PACING_WITHOUT_REDIS=mode, PHONE_NUMBER_RATE="2")
    tenant, known = unique("alone"), number()
    await broken.publish(known, tenant)
    await broken.accepted(known)
    await asyncio.to_thread(redis.kill)
    await broken.until(lambda: "redis_away" in worker.tail(50))  # one that asks in that moment may go
    recipients = [number() for _ in range(8)]
    await publish(broken, tenant, recipients)
    await broken.logged(worker, "pacing_without_redis")
    if mode == "open":
        await broken.all_accepted(recipients, 20)
        moments = arrivals(broken, recipients)
        assert moments[-1] - moments[0] >= 1.5, "2 at once and 2 a second take 3, if the first are not late"
        await asyncio.to_thread(redis.start)
    else:
        await broken.until(lambda: len(pace_waits(worker)) > len(recipients), 20)  # one has looked twice
        assert not any(broken.accepted_of(recipients))
        await asyncio.to_thread(redis.start)
        await broken.all_accepted(recipients, 30)
    assert (await broken.metrics(worker))["pacing_without_redis_total"] >= len(recipients)
