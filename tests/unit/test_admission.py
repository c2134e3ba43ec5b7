"""Who gets a slot now, who waits for one, and who goes to a lane."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from stream.contract.headers import History
from stream.contract.lanes import lane_names, lane_of
from stream.delivery import admission as module
from stream.delivery.admission import Admission
from stream.delivery.arrival import Delivery, Limits
from stream.delivery.inflight import Drained, InFlight
from stream.delivery.journey import Journey
from stream.delivery.outcome import NotCopyable
from stream.traffic.shares import Shares, Slot
from tests.unit.doubles import Clock, delivery, incoming, message, turns

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass
class Tries:
    """A journey whose tries end when the test says so; notes what was tried and what was moved."""

    tried: list[Delivery] = field(default_factory=list)
    moved: list[tuple[Delivery, str]] = field(default_factory=list)
    ends: dict[Delivery, asyncio.Event] = field(default_factory=dict)
    postponed: set[Delivery] = field(default_factory=set)
    in_flight: InFlight | None = None

    async def begin(self, each: Delivery) -> None:
        self.tried.append(each)
        self.ends[each] = asyncio.Event()
        await self.ends[each].wait()
        if self.in_flight is not None:
            self.in_flight.tried(postponed=each in self.postponed)

    async def move(self, each: Delivery, lane: str) -> None:
        self.moved.append((each, lane))


class World:
    """An admission with few slots; its handlers wait as FastStream's do."""

    def __init__(self, slots: int = 2, share: float = 0.5, lanes: int = 8) -> None:
        self.tries, self.in_flight, self.clock = Tries(), InFlight(), Clock()
        self.tries.in_flight = self.in_flight
        journey = cast("Journey", self.tries)
        self.admission = Admission(
            journey,
            self.in_flight,
            Shares(slots, share),
            lanes=lane_names(lanes),
            monotonic=self.clock,
            now=lambda: NOW,
        )
        self.handlers: dict[Delivery, asyncio.Task[Any]] = {}
        self.admission.open()

    async def arrive(self, tenant: str = "noisy", lane: str = "", moved_ago_s: float = 10, **more: Any) -> Delivery:
        headers = {"x-moved-at": (NOW - timedelta(seconds=moved_ago_s)).isoformat()} if lane else {}
        each = delivery(message(tenantId=tenant), headers=headers, **more)
        each.lane = lane
        return await self.take(each)

    async def take(self, each: Delivery) -> Delivery:
        self.handlers[each] = asyncio.create_task(self.admission.start(each))
        await turns(5)
        return each

    async def end(self, each: Delivery, *, postponed: bool = False) -> None:
        self.tries.postponed |= {each} if postponed else set()
        self.tries.ends[each].set()
        await turns(5)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patience that no test outlasts; when it is over, the test says."""
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)


async def patience(world: World) -> None:
    """Let everything that waits have waited for too long."""
    world.clock.now += 60
    world.admission._look(0.0, 0)
    await turns(5)


async def test_a_tenant_beyond_its_share_waits_and_another_one_does_not() -> None:
    world = World()
    noisy = [await world.arrive() for _ in range(4)]
    quiet = await world.arrive("quiet")
    assert world.tries.tried == [*noisy[:2], quiet]  # a regular slot, a spare one, and the regular one that was left
    await world.end(noisy[0])
    await world.end(noisy[1])
    assert world.tries.tried == [*noisy[:2], quiet, *noisy[2:]]


async def test_a_message_that_waits_for_too_long_moves_with_all_of_its_tenant_that_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.001)
    world = World(slots=1)
    first = await world.arrive()
    with capture_logs() as logs:
        waits = await world.arrive()
        async with asyncio.timeout(10):
            while not world.tries.moved:  # noqa: ASYNC110 - a timer of the event loop moves it
                await asyncio.sleep(0.001)
    later = await world.arrive()
    lane = lane_of("noisy", lane_names(8))
    assert world.tries.moved == [(waits, lane), (later, lane)]
    assert [(line["event"], line["tenantId"], line["lane"]) for line in logs] == [("tenant_laned", "noisy", lane)]
    assert (world.tries.tried, world.admission.laned) == ([first], 1)
    world.clock.now += 60
    assert world.admission.laned == 0


async def test_a_tenant_whose_tries_end_with_a_wait_is_not_moved_while_they_do() -> None:
    world = World(slots=1)
    paced = await world.arrive()
    second, third = await world.arrive(), await world.arrive()
    await world.end(paced, postponed=True)
    world.clock.now += 60
    world.admission._look(0.0, 0)
    assert (world.tries.moved, world.tries.tried) == ([], [paced, second])
    world.admission._look(0.0, 0)  # nothing was postponed since
    await turns(5)
    assert world.tries.moved == [(third, lane_of("noisy", lane_names(8)))]


async def test_a_tenant_that_holds_no_slot_is_never_moved() -> None:
    world = World(slots=1)
    noisy, other = await world.arrive(), await world.arrive("other")
    quiet = await world.arrive("quiet")
    await patience(world)
    assert (world.tries.moved, world.tries.tried) == ([], [noisy, other])
    await world.end(noisy)
    assert world.tries.tried == [noisy, other, quiet]


async def test_without_lanes_a_message_waits_for_its_slot() -> None:
    world = World(slots=1, share=1, lanes=0)
    first, late = await world.arrive(), await world.arrive()
    await patience(world)
    assert (world.tries.moved, world.tries.tried) == ([], [first])
    await world.end(first)
    assert world.tries.tried == [first, late]


async def test_without_lanes_a_tenant_whose_former_lane_is_slow_is_not_moved() -> None:
    world = World(lanes=0)
    await world.arrive(lane="whatsapp-lane-6")
    assert world.admission.move_of_laned("noisy") is None
    later = await world.arrive()
    assert (world.tries.moved, world.tries.tried[-1]) == ([], later)


async def test_what_has_a_problem_needs_no_slot_and_stands_in_nobodys_way() -> None:
    world = World(slots=1)
    first = await world.arrive()
    spoiled = delivery(message(tenantId="noisy"))
    spoiled.problem = NotCopyable("properties cannot be decoded")
    await world.take(spoiled)
    assert world.tries.tried == [first, spoiled]


async def test_a_lane_whose_tries_take_long_leaves_slots_to_other_lanes_and_nothing_moves_twice() -> None:
    world = World(slots=2)
    slow = [await world.arrive(lane="whatsapp-lane-0") for _ in range(4)]
    assert world.tries.tried == slow[:2]  # all spare slots
    quick = [await world.arrive("other", lane="whatsapp-lane-1") for _ in range(3)]
    assert world.tries.tried == [*slow[:2], quick[0]]  # a regular one, within its share
    await world.end(slow[0])
    assert world.tries.tried[-1] is quick[1]  # it has fewer spare ones than the slow lane
    await world.end(quick[1])
    assert world.tries.tried[-1] is quick[2]
    await patience(world)
    assert world.tries.moved == []


async def test_a_lane_that_is_slow_lanes_its_tenant_here_too_until_it_is_quick() -> None:
    world = World()
    await world.arrive(lane="whatsapp-lane-6")
    assert world.admission.laned == 1
    world.clock.now += 2
    await world.arrive(lane="whatsapp-lane-6", moved_ago_s=0)
    assert world.admission.laned == 0


async def test_a_handler_that_is_cancelled_gives_up_its_place_and_a_slot_that_it_has_just_got() -> None:
    world = World(slots=1)
    running = await world.arrive(lane="whatsapp-lane-0")
    lost = await world.arrive(lane="whatsapp-lane-0")
    just_got = await world.arrive(lane="whatsapp-lane-0")
    last = await world.arrive(lane="whatsapp-lane-0")
    world.handlers[lost].cancel()
    await turns(5)
    world.admission._ended(Slot.LANE, "whatsapp-lane-0", "noisy", postponed=False)
    world.handlers[just_got].cancel()  # before it could run
    await turns(5)
    assert world.tries.tried == [running, last]


async def test_a_stop_starts_nothing_that_waits_and_counts_it_as_returned() -> None:
    world = World(slots=1)
    running = await world.arrive(lane="whatsapp-lane-0")
    await world.arrive(lane="whatsapp-lane-0")
    await world.arrive("other")
    await world.arrive("other")
    world.admission.close()
    drain = asyncio.create_task(world.in_flight.drain(5))
    await turns(5)
    await world.arrive("other")
    for each in world.tries.tried:
        await world.end(each)
    assert await drain == Drained(finished=2, returned=3, unknown=0)
    assert running in world.tries.tried


async def test_large_bodies_go_one_after_the_other_and_hold_no_slot_before() -> None:
    world = World()
    large = [Delivery(incoming(bytes(module.LARGE_BYTES + 1)), History(NOW)) for _ in range(2)]
    for each in large:
        await world.take(each)
    others = [await world.arrive("other"), await world.arrive("another")]
    assert world.tries.tried == [large[0], *others]
    await world.end(large[0])
    assert world.tries.tried == [large[0], *others, large[1]]


@pytest.mark.parametrize("end", ["open", "close"])
async def test_before_every_queue_is_consumed_nothing_starts(end: str) -> None:
    world = World()
    world.admission._opened.clear()
    early = await world.arrive()
    await patience(world)
    assert world.tries.tried == []
    getattr(world.admission, end)()
    await turns(5)
    assert world.tries.tried == ([early] if end == "open" else [])


@pytest.mark.parametrize(
    ("routing_key", "headers", "holder"),
    [
        ("outbound.processed.acme", {}, "acme"),
        ("whatsapp-lane-6", {"x-original-routing-key": "outbound.processed.acme"}, "acme"),
        ("any", {}, "any"),
    ],
)
def test_an_unread_message_takes_the_share_of_the_tenant_in_its_routing_key(
    routing_key: str, headers: dict[str, Any], holder: str
) -> None:
    unread = incoming(b"{", routing_key=routing_key, redelivered=True, headers=headers)
    assert Delivery.read(unread, NOW, Limits()).holder == holder
