"""Rate limits that all replicas keep together, on real servers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable
from typing import Any

import pytest

from sandbox.redis import PrivateRedis
from sandbox.steps import Fail
from sandbox.worker import WorkerProcess
from tests.scene import Scene, number, unique

BURST_S = 1.0  # a number may send a second's worth at once


def fullest_second(moments: Iterable[float]) -> int:
    """The most of these moments within one second."""
    ordered = sorted(moments)
    first, most = 0, 0
    for last, moment in enumerate(ordered):
        while ordered[first] < moment - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def arrivals(scene: Scene, recipients: Iterable[str]) -> list[float]:
    return sorted(moment for to in recipients for moment in scene.graph.arrivals(to))


def pace_waits(worker: WorkerProcess) -> list[dict[str, object]]:
    return [line for line in worker.lines() if line.get("event") == "waiting_for_pace"]


async def publish(scene: Scene, tenant: str, recipients: Iterable[str]) -> None:
    await asyncio.gather(*(scene.publish(to, tenant) for to in recipients))


async def test_three_replicas_together_keep_the_limit_of_a_number_and_use_nine_tenths_of_it(stage: Scene) -> None:
    rate, messages = 50, 600
    for _ in range(3):
        await stage.start_worker(PHONE_NUMBER_RATE=str(rate), RABBITMQ_PREFETCH="50")
    tenant, recipients = unique("paced"), [number() for _ in range(messages)]
    await publish(stage, tenant, recipients)
    await stage.all_accepted(recipients, 60)
    await stage.settled()
    moments = arrivals(stage, recipients)
    assert len(moments) == messages, "each was sent once"
    # The simulator sees a request a little after its turn: how much later differs from one to the next.
    assert fullest_second(moments) <= rate * (1 + BURST_S) * 1.1
    seconds = moments[-1] - moments[0]
    assert (messages - rate * BURST_S) / seconds >= 0.9 * rate
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
    await publish(stage, tenant, recipients)
    await stage.all_accepted(recipients)
    moments = arrivals(stage, recipients)
    assert fullest_second(moments) <= 9
    assert moments[-1] - moments[0] >= 1.7


async def test_one_recipient_gets_its_burst_and_then_one_an_interval_and_holds_nobody_else_up(stage: Scene) -> None:
    await stage.start_worker(PAIR_INTERVAL_MS="1000", PAIR_BURST="5", RABBITMQ_PREFETCH="4")
    tenant, to, other = unique("pair"), number(), number()
    for _ in range(8):
        await stage.publish(to, tenant)
    await stage.publish(other, tenant)
    await stage.accepted(other, 2)
    await stage.until(lambda: len(stage.taken(to)) == 8, 10)
    moments = arrivals(stage, [to])
    assert moments[4] - moments[0] < 1.0
    gaps = [after - before for before, after in itertools.pairwise(moments[4:])]
    assert all(gap > 0.5 for gap in gaps)
    assert moments[-1] - moments[0] + 1 >= 3


async def test_a_tenant_may_send_a_minutes_worth_at_once_and_then_its_rate(stage: Scene) -> None:
    worker = await stage.start_worker(TENANT_RATE_PER_MINUTE="60")
    tenant, recipients = unique("minute"), [number() for _ in range(62)]
    await publish(stage, tenant, recipients)
    await stage.all_accepted(recipients, 20)
    moments = arrivals(stage, recipients)
    assert moments[61] - moments[0] >= 1.0
    assert (await stage.metrics(worker))['messages_paced_total{limit="tenant"}'] >= 1


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
    await publish(stage, tenant, recipients)
    for _ in range(3):
        await stage.until(lambda: any(stage.accepted_of(recipients)))
        await asyncio.to_thread(worker.kill)
        worker = await stage.start_worker(PHONE_NUMBER_RATE="40", META_API_TIMEOUT_MS="1000")
    await stage.all_accepted(recipients, 60)
    await stage.settled()
    assert fullest_second(arrivals(stage, recipients)) <= 80 * 1.1


async def test_a_refusal_halves_the_rate_of_the_number_for_all_replicas_and_it_climbs_back(stage: Scene) -> None:
    workers = [await stage.start_worker(PHONE_NUMBER_RATE="40") for _ in range(2)]
    tenant, refused, recipients = unique("cut"), [number(), number()], [number() for _ in range(100)]
    for to in refused:
        stage.graph.script(to, [Fail(130429)])
    await publish(stage, tenant, refused[:1])
    await stage.until(lambda: _cuts(workers))
    assert [(line["fromPerSecond"], line["toPerSecond"]) for line in _cuts(workers)] == [(40.0, 20.0)]
    await publish(stage, tenant, recipients)
    await stage.all_accepted([*refused[:1], *recipients], 20)
    moments = arrivals(stage, recipients)
    assert fullest_second(moments) <= 2 * 20 * BURST_S * 1.2
    assert moments[-1] - moments[0] >= 3, "at 40 per second it would be 1.5"
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
    await stage.until(lambda: len(stage.graph.by_recipient(to)) == 1)
    started = time.monotonic()
    await publish(stage, tenant, others)
    await stage.all_accepted(others, 1)
    assert time.monotonic() - started < 1
    await stage.accepted(to, 15)
    first, second, third = stage.graph.arrivals(to)
    assert 1 <= second - first < 2.5
    assert 4 <= third - second < 6.5


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
    await stage.accepted(bystander, 2)
    await stage.all_accepted([to, behind], 10)
    assert stage.graph.arrivals(to)[1] - refused >= 3
    assert stage.graph.arrivals(behind)[0] - refused >= 2.9


@pytest.mark.parametrize("mode", ["open", "closed"])
async def test_without_redis_a_replica_paces_alone_or_lets_messages_wait(broken: Scene, mode: str) -> None:
    redis = broken.world.redis
    assert isinstance(redis, PrivateRedis)
    worker = await broken.start_worker(PACING_WITHOUT_REDIS=mode, PHONE_NUMBER_RATE="10")
    tenant, known = unique("alone"), number()
    await broken.publish(known, tenant)
    await broken.accepted(known)
    await asyncio.to_thread(redis.kill)
    await broken.until(lambda: "redis_away" in worker.tail(50))  # one that asks in that moment may go
    recipients = [number() for _ in range(25)]
    await publish(broken, tenant, recipients)
    await broken.logged(worker, "pacing_without_redis")
    if mode == "open":
        await broken.all_accepted(recipients, 20)
        moments = arrivals(broken, recipients)
        assert fullest_second(moments) <= 22
        assert moments[-1] - moments[0] >= 1.4
        await asyncio.to_thread(redis.start)
    else:
        await broken.until(lambda: len(pace_waits(worker)) >= 2 * len(recipients), 20)
        assert not any(broken.accepted_of(recipients))
        await asyncio.to_thread(redis.start)
        await broken.all_accepted(recipients, 30)
    assert (await broken.metrics(worker))["pacing_without_redis_total"] >= 25
