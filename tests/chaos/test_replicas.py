"""Deploys and deaths under load: nothing lost, nothing sent blindly twice."""

from __future__ import annotations

import asyncio

from tests.scene import Scene, number

SLOW = "999400200"  # Meta takes 0.2 s to answer
HELD = "999430000"  # 30 s: no answer comes while the test looks


async def test_sigterm_under_load_finishes_what_is_in_flight_and_returns_the_rest(stage: Scene) -> None:
    first = await stage.start_worker(RABBITMQ_PREFETCH="10")
    recipients = [number(SLOW) for _ in range(80)]
    for to in recipients:
        await stage.publish(to)
    await stage.until(lambda: sum(stage.accepted_of(recipients)) >= 20)
    assert await stage.stop_worker(first) == 0
    after_stop = sum(stage.accepted_of(recipients))
    assert after_stop < 80
    line = await stage.logged(first, "stopped")
    assert line["finished"] > 0
    assert line["unknown"] == 0
    assert await stage.outside.intake() == 80 - after_stop  # settled or back on the queue: nothing in between
    await stage.start_worker(RABBITMQ_PREFETCH="10")
    await stage.all_accepted(recipients)
    assert stage.accepted_of(recipients) == [1] * 80
    await stage.settled()


async def test_sigkill_of_one_of_three_replicas_loses_nothing_and_sends_nothing_blindly(stage: Scene) -> None:
    workers = {
        version: await stage.start_worker(
            META_API_VERSION=version,  # by which a request tells its replica
            META_API_TIMEOUT_MS="4000",
            ON_UNKNOWN_OUTCOME="dead-letter",
            RABBITMQ_PREFETCH="5",
        )
        for version in ("v24.0", "v25.0", "v26.0")
    }
    await stage.watch()
    held = number(HELD)
    recipients = [*(number(SLOW) for _ in range(60)), held, *(number(SLOW) for _ in range(60))]
    ids = {to: await stage.publish(to) for to in recipients}
    await stage.until(lambda: stage.graph.by_recipient(held))
    (request,) = stage.graph.by_recipient(held)  # taken, and not answered yet
    await asyncio.to_thread(workers[request.version].kill)

    def ended() -> bool:
        return all(stage.taken(to) or stage.letters_of(ids[to]) for to in recipients)

    await stage.letter(ids[held], seconds=40)
    await stage.until(ended, seconds=40, what="every message sent or in doubt")
    await stage.settled(seconds=20)
    in_doubt = [to for to in recipients if stage.letters_of(ids[to])]
    assert max(stage.accepted_of(recipients)) == 1  # 0 twice
    assert held in in_doubt
    assert len(in_doubt) <= 2 * 5  # at most the killed replica's slots
    for to in in_doubt:
        assert stage.letters_of(ids[to])[0].headers["x-error-type"] == "OUTCOME_UNKNOWN"


async def test_a_backlog_that_is_there_before_the_start_is_taken_whole(stage: Scene) -> None:
    await stage.declare()
    recipients = [number() for _ in range(400)]
    for to in recipients:
        await stage.publish(to)
    await stage.start_worker(RABBITMQ_PREFETCH="300")
    await stage.all_accepted(recipients)
    assert set(stage.accepted_of(recipients)) == {1}


async def test_a_wait_survives_the_death_of_every_replica(stage: Scene) -> None:
    worker = await stage.start_worker()
    to = number("99931500")
    await stage.publish(to)
    await stage.until(lambda: stage.graph.by_recipient(to))
    await stage.settled_to(waiting=1)
    await asyncio.to_thread(worker.kill)
    await stage.start_worker()
    await stage.accepted(to)
