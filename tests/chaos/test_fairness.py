"""One tenant's backlog may cost the others the time to sort it, never the time to send it."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.chaos.test_outages import rabbitmq_of
from tests.scene import Scene, number, unique

SLOW = "999401000"  # answered after a second
HANGING = "999430000"  # after 30 s: above META_API_TIMEOUT_MS
BRISK = "999400200"  # after 0.2 s
SLOTS = 10  # RABBITMQ_PREFETCH's default
PASSES_WITHIN_S = 2.0

pytestmark = pytest.mark.alone  # what is measured is how soon a message passes


async def publish_all(stage: Scene, tenant: str, prefix: str, count: int) -> list[str]:
    """Publish messages of a tenant; returns their recipients."""
    recipients = [number(prefix) for _ in range(count)]
    for to in recipients:
        await stage.publish(to, tenant)
    return recipients


async def passes(stage: Scene) -> float:
    """Publish a message of a tenant that has no other; returns the seconds until it is at Graph."""
    to, published = number(), time.monotonic()
    await stage.publish(to, unique("quiet"))
    await stage.until(lambda: stage.graph.by_recipient(to), 30, "the quiet tenant's message at Graph")
    return stage.graph.arrivals(to)[0] - published


async def test_a_message_behind_a_slow_backlog_passes_it_and_the_backlog_takes_no_longer(stage: Scene) -> None:
    worker = await stage.start_worker()
    began = time.monotonic()
    slow = await publish_all(stage, unique("noisy"), SLOW, 80)
    assert await passes(stage) < PASSES_WITHIN_S
    await stage.all_accepted(slow, 60)
    alone_s = len(slow) / SLOTS
    assert stage.graph.arrivals(slow[-1])[0] - began < 1.25 * alone_s  # `bench isolation` holds 300 to 1.1
    order = sorted(slow, key=lambda to: stage.graph.arrivals(to)[0])
    assert max(abs(order.index(to) - place) for place, to in enumerate(slow)) <= 2 * SLOTS
    await stage.settled()
    metrics = await stage.metrics(worker)
    moved = sum(value for name, value in metrics.items() if name.startswith("messages_moved_total"))
    assert 40 <= moved <= len(slow)  # none twice


@pytest.mark.parametrize("hanging", [1, 3])
async def test_a_message_behind_tenants_that_get_no_answer_passes_them(stage: Scene, hanging: int) -> None:
    await stage.start_worker()
    for _ in range(hanging):
        await publish_all(stage, unique("hanging"), HANGING, 102 // hanging)
    assert await passes(stage) < PASSES_WITHIN_S
    await asyncio.sleep(1)  # everything is sorted now
    assert await passes(stage) < PASSES_WITHIN_S


async def test_quiet_tenants_pass_ten_noisy_ones(stage: Scene) -> None:
    await stage.start_worker()
    noisy = [unique("noisy") for _ in range(10)]
    backlog = [(number(SLOW), tenant) for _ in range(100) for tenant in noisy]
    for start in range(0, len(backlog), 10):
        await asyncio.gather(*(stage.publish(*each) for each in backlog[start : start + 10]))
    quiet = [number() for _ in range(100)]
    for to in quiet:
        await stage.publish(to, unique("quiet"))
    await stage.all_accepted(quiet, 60)
    passed = sorted(stage.graph.arrivals(to)[0] for to in quiet)[94]
    before = [to for to, _ in backlog if stage.graph.by_recipient(to) and stage.graph.arrivals(to)[0] < passed]
    assert len(before) < len(backlog) / 2  # in seconds, as on an idle machine: `bench isolation`


async def test_tenants_that_are_fast_or_alone_move_nothing(stage: Scene) -> None:
    worker = await stage.start_worker()
    balanced = [unique("balanced") for _ in range(100)]
    recipients = [number() for _ in range(1000)]
    began = time.monotonic()
    await stage.all_accepted([to for who in balanced for to in await publish_all(stage, who, "1650555", 1)])
    for index, to in enumerate(recipients):
        await stage.publish(to, balanced[index % 100])
    await stage.all_accepted(recipients)
    alone = await publish_all(stage, balanced[0], "1650555", 300)
    await stage.all_accepted(alone)
    per_s = 1400 / (time.monotonic() - began)
    moved = [name for name in await stage.metrics(worker) if name.startswith("messages_moved_total")]
    assert not moved or per_s < 100, "not fast: on a machine that has no time for them, they may be moved"


async def test_deaths_of_replicas_and_of_rabbitmq_with_full_lanes_lose_nothing(broken: Scene) -> None:
    workers = [await broken.start_worker(META_API_TIMEOUT_MS="3000") for _ in range(2)]
    await broken.watch()
    noisy = [unique("noisy") for _ in range(3)]
    recipients: list[str] = []
    for _ in range(400):  # more than are sent while replicas start
        recipients += [number(BRISK) for _ in noisy]
        await asyncio.gather(*(broken.publish(to, who) for to, who in zip(recipients[-3:], noisy, strict=True)))
    for victim in (0, 1, 0):
        more = min(sum(broken.accepted_of(recipients)) + 40, len(recipients))
        await broken.until(lambda more=more: sum(broken.accepted_of(recipients)) >= more, 60)  # type: ignore[misc]
        await asyncio.to_thread(workers[victim].kill)
        workers[victim] = await broken.start_worker(META_API_TIMEOUT_MS="3000")
    await asyncio.to_thread(rabbitmq_of(broken).kill)
    await asyncio.to_thread(rabbitmq_of(broken).start)
    await broken.all_accepted(recipients, 120)
    await broken.settled(30)
    assert broken.letters == []
    twice = {to for to in recipients if len(broken.taken(to)) > 1}
    said = {line["internalId"] for worker in broken.workers for line in worker.lines() if "unknown" in line["event"]}
    assert len(twice) <= len(said)
