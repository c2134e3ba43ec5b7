"""A job that replays dead letters loses Redis in its middle: resumed, it loses no letter and sends none twice."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from sandbox.redis import PrivateRedis
from stream.broker.handover import Handover
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.job import Entry, Job, Options, Status
from stream.operations.dead_letters.planning import plan_for
from stream.operations.dead_letters.running import Ended, run_job
from stream.operations.exits import ExitCode
from stream.operations.redis_link import redis_link
from tests.letters import CAUSES, lay, letter_of
from tests.scene import Scene, number, unique

pytestmark = pytest.mark.any_servers

AUTH = CAUSES[0]
SLOW = "999403000"  # Meta answers after three seconds


async def test_a_job_that_loses_redis_goes_on_once_it_is_back(broken: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second letter's message is with Meta when Redis ends; the others' copies come to a worker without Redis."""
    monkeypatch.setenv("RABBITMQ_URL", broken.url)
    monkeypatch.setenv("REDIS_URL", broken.settings["REDIS_URL"])
    redis = broken.world.redis
    assert isinstance(redis, PrivateRedis)
    await broken.declare()
    recipients = [number(), number(SLOW), *(number() for _ in range(6))]
    ids = [unique("id") for _ in recipients]
    await lay(broken.url, [letter_of(AUTH, *each) for each in zip(recipients, ids, strict=True)])
    worker = await broken.start_worker()
    async with redis_link() as link:
        plan = await plan_for(Filter(), Options(), link.redis)
        job, entries = Job.new("a test", {}, Options(), {}), {name: Entry() for name in plan.letters}
        with monkeypatch.context() as patch:
            loses_redis(broken, redis, recipients[1], patch)
            ended = await run_job(job, entries, link.redis, fresh=True)
    assert (ended.code, ended.because.startswith("Redis cannot be reached")) == (ExitCode.UNREACHABLE, True)
    await broken.logged(worker, "delivered", internalId=ids[1])
    await broken.logged(worker, "waiting_for_pace", internalId=ids[2])
    await asyncio.to_thread(redis.start)
    async with redis_link() as link:
        entries = {}
        assert await run_job(job, entries, link.redis, fresh=False) == Ended()
    await broken.settled(20)
    assert broken.accepted_of(recipients) == [1] * len(recipients)
    assert await broken.outside.dead_letters() == 0
    statuses = [entries[name].status for name in plan.letters]
    assert statuses.pop(1) is Status.REPLAYED  # nobody could write down that it was delivered
    assert statuses == [Status.DELIVERED] * 7


def loses_redis(stage: Scene, redis: PrivateRedis, slow: str, patch: pytest.MonkeyPatch) -> None:
    """End Redis once the second copy's request is at Meta, before its note; the third copy is published just after."""
    original, calls, third, gone = Handover.publish, itertools.count(1), asyncio.Event(), asyncio.Event()

    async def publish(*args: Any, **options: Any) -> None:
        call = next(calls)
        if call >= 3:
            third.set()
            await gone.wait()
        await original(*args, **options)
        if call == 2:
            await stage.until(lambda: stage.graph.by_recipient(slow))
            await third.wait()
            await asyncio.to_thread(redis.kill)
            gone.set()

    patch.setattr(Handover, "publish", publish)
