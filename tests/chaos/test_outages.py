"""RabbitMQ, Redis and the Tenant Service go away and come back; the worker comes back by itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from sandbox.rabbitmq import PrivateRabbitMQ
from sandbox.redis import PrivateRedis
from stream.contract import delays
from tests.scene import Scene, management, number, unique


def rabbitmq_of(stage: Scene) -> PrivateRabbitMQ:
    assert isinstance(stage.world.rabbitmq, PrivateRabbitMQ)
    return stage.world.rabbitmq


def redis_of(stage: Scene) -> PrivateRedis:
    assert isinstance(stage.world.redis, PrivateRedis)
    return stage.world.redis


async def test_a_broker_that_dies_and_comes_back_loses_and_doubles_nothing(broken: Scene) -> None:
    worker = await broken.start_worker(CIRCUIT_FAILURES="0")  # five requests of one tenant fail at once
    recipients = [number("999400100") for _ in range(120)]
    retried = [number("99931500") for _ in range(5)]
    for to in [*retried, *recipients]:
        await broken.publish(to)
    await broken.until(lambda: sum(broken.accepted_of(recipients)) >= 30)
    await asyncio.to_thread(rabbitmq_of(broken).kill)
    await broken.logged(worker, "rabbitmq_lost")
    await asyncio.to_thread(rabbitmq_of(broken).start)
    await broken.all_accepted([*recipients, *retried], seconds=30)
    assert broken.accepted_of([*recipients, *retried]) == [1] * 125
    await broken.settled(seconds=20)
    assert worker.ready()


async def test_a_connection_cut_while_a_send_is_in_flight_sends_nothing_twice(broken: Scene) -> None:
    worker = await broken.start_worker()
    await broken.watch()
    to = number("999406000")  # longer than a busy machine takes to cut
    internal_id = await broken.publish(to)
    await broken.until(lambda: broken.graph.by_recipient(to))
    await asyncio.to_thread(rabbitmq_of(broken).ctl, "close_all_connections", "--global", "the test cuts them")
    await broken.logged(worker, "rabbitmq_lost")
    await broken.logged(worker, "duplicate", seconds=20, internalId=internal_id)
    request = await broken.accepted(to)
    assert len(broken.taken(to)) == 1
    # The first try could not announce its send any more; the copy that came back did.
    assert (await broken.event("outbound.sent.acme", internal_id))["wamid"] == request.wamid
    await broken.settled()


async def test_redis_and_the_tenant_service_down_at_the_start_are_told_before_any_message(broken: Scene) -> None:
    await asyncio.to_thread(redis_of(broken).stop)
    try:
        worker = await broken.start_worker(TENANT_SERVICE_URL="http://127.0.0.1:9")  # the discard port: nobody listens
        await broken.logged(worker, "redis_away")
        line = await broken.logged(worker, "tenant_service_not_there_yet")
        assert (line["level"], line["error"]) == ("warning", "ConnectionRefusedError")
        assert (await broken.metrics(worker))["redis_away"] == 1
    finally:
        await asyncio.to_thread(redis_of(broken).start)
    await broken.logged(worker, "redis_back")
    assert (await broken.metrics(worker))["redis_away"] == 0


async def test_a_frozen_broker_is_survived(broken: Scene) -> None:
    await broken.start_worker()
    recipients = [number("999400100") for _ in range(60)]
    for to in recipients:
        await broken.publish(to)
    await broken.until(lambda: sum(broken.accepted_of(recipients)) >= 15)
    await asyncio.to_thread(rabbitmq_of(broken).pause)
    await asyncio.sleep(8)  # longer than the bound on one publish
    await asyncio.to_thread(rabbitmq_of(broken).resume)
    await broken.all_accepted(recipients, seconds=40)
    assert broken.accepted_of(recipients) == [1] * 60
    await broken.settled(seconds=30)


async def test_a_consumer_that_holds_a_message_too_long_comes_back_on_a_new_channel(broken: Scene) -> None:
    # Up to 4.2 the broker closes its channel. Since 4.3 it cancels the consumer, of quorum queues only.
    ctl = rabbitmq_of(broken).ctl
    await asyncio.to_thread(ctl, "eval", "application:set_env(rabbit, consumer_timeout, 1000).")
    await asyncio.to_thread(ctl, "eval", "application:set_env(rabbit, channel_tick_interval, 300).")
    try:
        worker = await broken.start_worker(RABBITMQ_QUEUE_TYPE="quorum")
        slow, after = [number("999403500") for _ in range(3)], number()
        ids = [await broken.publish(to) for to in slow]
        for internal_id in ids:  # delivered again on the new channel, and recognised
            await broken.logged(worker, "duplicate", seconds=30, internalId=internal_id)
        await broken.publish(after)
        await broken.accepted(after, seconds=30)
        assert broken.accepted_of([*slow, after]) == [1, 1, 1, 1]
        await broken.settled()
        assert "rabbitmq_lost" not in {line["event"] for line in worker.lines()}  # its other channels stay
    finally:
        await asyncio.to_thread(ctl, "eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
        await asyncio.to_thread(ctl, "eval", "application:set_env(rabbit, channel_tick_interval, 60000).")


async def test_an_intake_queue_that_is_deleted_is_made_again_with_the_way_back_from_the_delay_levels(
    stage: Scene,
) -> None:
    worker = await stage.start_worker()
    queue = f"/api/queues/{stage.url.rsplit('/', 1)[1]}/outbound-processed"
    async with management(stage.world) as api:
        (await api.delete(queue)).raise_for_status()
    to = number()

    async def delivered() -> bool:
        """Publish until the queue is there again; copies are recognised."""
        try:
            await stage.publish(to, internal_id="after-the-cancel")
            await stage.accepted(to, seconds=1)
        except AssertionError:
            return False
        return True

    deadline = time.monotonic() + 30
    while not await delivered():
        assert time.monotonic() < deadline, worker.tail()
    assert stage.accepted_of([to]) == [1]

    async def sources() -> set[str]:
        """The exchanges that are bound to it."""
        async with management(stage.world) as api:
            return {binding["source"] for binding in (await api.get(f"{queue}/bindings")).json()}

    while delays.DELIVERY_EXCHANGE not in await sources():  # what it dead-letters before, RabbitMQ tries after minutes
        assert time.monotonic() < deadline, worker.tail()
    retried = number("99931500")
    await stage.publish(retried)
    await stage.accepted(retried, seconds=20)
    assert "rabbitmq_lost" not in {line["event"] for line in worker.lines()}  # nothing but the queue was lost


async def test_a_broker_that_is_not_there_yet_is_waited_for(broken: Scene) -> None:
    await asyncio.to_thread(rabbitmq_of(broken).kill)
    try:
        worker = await broken.start_worker(wait=False)
        line = await broken.logged(worker, "rabbitmq_not_there_yet", attempt=2)
        assert line["nextInS"] > 0
        assert not worker.ready()
        leaving = await broken.start_worker(wait=False)
        await broken.logged(leaving, "rabbitmq_not_there_yet")
        assert await broken.stop_worker(leaving) == 0  # SIGTERM is heard while it waits
    finally:
        await asyncio.to_thread(rabbitmq_of(broken).start)
    await asyncio.to_thread(worker.wait_until_ready)
    to = number()
    await broken.publish(to)
    await broken.accepted(to)


async def test_a_stop_while_the_broker_is_down_ends(broken: Scene) -> None:
    worker = await broken.start_worker()
    await asyncio.to_thread(rabbitmq_of(broken).kill)
    try:
        await broken.logged(worker, "rabbitmq_lost")
        started = time.monotonic()
        assert await broken.stop_worker(worker) == 0
        assert time.monotonic() - started < 15
    finally:
        await asyncio.to_thread(rabbitmq_of(broken).start)


async def test_a_stop_while_the_broker_is_frozen_waits_for_no_answer_to_a_farewell(broken: Scene) -> None:
    worker = await broken.start_worker()
    await asyncio.to_thread(rabbitmq_of(broken).pause)
    try:
        started = time.monotonic()
        assert await broken.stop_worker(worker) == 0
        assert time.monotonic() - started < 10  # nothing is in flight; aiormq alone would wait for 12 s
    finally:
        await asyncio.to_thread(rabbitmq_of(broken).resume)


@pytest.mark.parametrize("frozen", [False, True], ids=["gone", "frozen"])
async def test_delivery_goes_on_without_redis_and_the_full_service_comes_back(broken: Scene, frozen: bool) -> None:  # noqa: FBT001 - a parameter of the table
    redis = redis_of(broken)
    worker = await broken.start_worker()
    before = number()
    await broken.publish(before)
    await broken.accepted(before)
    await asyncio.to_thread(redis.pause if frozen else redis.kill)
    try:
        recipients = [number() for _ in range(20)]
        newcomer = number()
        for to in recipients:
            await broken.publish(to)
        await broken.publish(newcomer, unique("new"))
        await broken.all_accepted([*recipients, newcomer], seconds=20)
        assert len([line for line in worker.lines() if line["event"] == "redis_away"]) == 1
        assert (await broken.metrics(worker))["redis_away"] == 1
    finally:
        await asyncio.to_thread(redis.resume if frozen else redis.start)
    after, again = number(), unique("again")

    async def back() -> bool:
        await broken.publish(number())
        return any(line["event"] == "redis_back" for line in worker.lines())

    deadline = time.monotonic() + 20
    while not await back():
        assert time.monotonic() < deadline, worker.tail()
        await asyncio.sleep(0.1)
    for _ in range(2):
        await broken.publish(after, internal_id=again)
    await broken.logged(worker, "duplicate", internalId=again)
    assert broken.accepted_of([after]) == [1]


@pytest.mark.any_servers
async def test_tenants_with_cached_credentials_do_not_notice_that_the_tenant_service_is_down(stage: Scene) -> None:
    worker = await stage.start_worker(RABBITMQ_PREFETCH="5")
    cached = unique("cached")
    first = number()
    await stage.publish(first, cached)
    await stage.accepted(first)
    stage.tenants.delay = 6.0  # it hangs: every attempt runs into its timeout
    try:
        unlucky = {unique("unlucky"): number() for _ in range(40)}
        for tenant, to in unlucky.items():
            await stage.publish(to, tenant)
        await stage.logged(worker, "tenant_service_struggling")
        started = time.monotonic()
        lucky = [number() for _ in range(20)]
        for to in lucky:
            await stage.publish(to, cached)
        await stage.all_accepted(lucky, seconds=5)
        assert time.monotonic() - started < 5
        assert not any(stage.accepted_of(unlucky.values()))
    finally:
        stage.tenants.delay = 0.0
    await stage.all_accepted(list(unlucky.values()), seconds=60)
    assert set(stage.accepted_of(unlucky.values())) == {1}
