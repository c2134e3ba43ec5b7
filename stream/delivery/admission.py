"""Admission: which delivery gets a slot for its try now, which waits in memory for one, and which goes to a lane.

A slot is held from the start of a try to its end. Settling needs none, nor does a move to a lane. What waits here costs
its place in the consumer's prefetch, for `PATIENCE_S` at most if it came from the intake: then its tenant is laned, and
its messages move to the tenant's lane. What came from a lane waits here as long as it must, and moves no more. The
rules are in `stream.traffic`; nothing here asks another process.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import structlog

from stream.contract.headers import moved_at
from stream.contract.lanes import lane_of
from stream.contract.messages import MESSAGE_MAX_BYTES
from stream.delivery.arrival import Delivery
from stream.delivery.decision import Move
from stream.delivery.inflight import InFlight
from stream.delivery.journey import Journey
from stream.traffic.laned import PATIENCE_S, Laned, sorting_pays
from stream.traffic.shares import Shares, Slot

INTAKE: Final = ""  # where a delivery waits that came from no lane
LARGE_BYTES: Final = 2 * MESSAGE_MAX_BYTES  # of a body: from here on, one message at a time

log = structlog.get_logger(__name__)

Answer = Slot | Move | None
"""What a delivery gets: `None` when the worker stops."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A delivery that waits for its answer.

    Attributes:
        delivery: What waits.
        holder: Whose share of the slots it takes.
        since: When it began to wait, in seconds of `Admission`'s clock.
        answer: What it gets.
    """

    delivery: Delivery
    holder: str
    since: float
    answer: asyncio.Future[Answer]


class Admission:
    """Starts the journeys of deliveries as slots become free.

    Args:
        journey: Brings a delivery to its end.
        in_flight: Runs the journeys.
        shares: The slots.
        lanes: The names of the first `LANES` lanes; without any, a message of the intake waits for its slot.
        monotonic: Seconds.
        now: The current time in UTC.
    """

    def __init__(
        self,
        journey: Journey,
        in_flight: InFlight,
        shares: Shares,
        *,
        lanes: Sequence[str],
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journey = journey
        self._in_flight = in_flight
        self._shares = shares
        self._lanes = lanes
        self._monotonic = monotonic
        self._now = now
        self._laned = Laned()
        self._waiting: dict[str, dict[_Waiting, None]] = {INTAKE: {}}  # in the order in which they came
        self._spare_of = Counter[str]()  # spare slots that each source holds
        self._started = 0  # tries of messages of the intake
        self._moves = 0  # messages that were sent to lanes
        self._postponed: set[str] = set()  # tenants of which messages were postponed since the last look
        self._watch: asyncio.TimerHandle | None = None  # set while a message of the intake waits
        self._opened = asyncio.Event()
        self._large = asyncio.Lock()
        self._closed = False

    @property
    def laned(self) -> int:
        """How many tenants' messages are moved to their lanes now."""
        return self._laned.count(self._monotonic())

    @property
    def moves(self) -> int:
        """How many messages have been sent to lanes."""
        return self._moves

    def move_of_laned(self, holder: str) -> Move | None:
        """The move of a message of the intake, if its tenant is laned: it needs no slot, and does not wait."""
        if self._closed or not self._lanes or not self._laned.has(holder, self._monotonic()):
            return None
        return self._move(holder)

    def start(self, delivery: Delivery) -> Coroutine[Any, Any, asyncio.Task[None] | None]:
        """Start a delivery's journey or its move, once that may be; nothing when the worker stops."""
        return self._start_large(delivery) if len(delivery.incoming.body) > LARGE_BYTES else self._start(delivery)

    async def _start_large(self, delivery: Delivery) -> asyncio.Task[None] | None:
        """Start it after the one before has ended: a large body is copied several times on its way to a dead letter."""
        async with self._large:
            if task := await self._start(delivery):
                await asyncio.wait({task})
            return task

    async def _start(self, delivery: Delivery) -> asyncio.Task[None] | None:
        if not self._opened.is_set():
            await self._opened.wait()
        holder = delivery.holder
        if delivery.problem is not None and not self._closed:  # it needs no try, and so no slot
            return self._in_flight.start(self._journey.begin, delivery)
        answer = None if self._closed else self._at_once(delivery, holder) or await self._wait(delivery, holder)
        if answer is None:
            self._in_flight.leave()
            return None
        if isinstance(answer, Move):
            return self._in_flight.start(partial(self._journey.move, lane=answer.lane), delivery)
        if delivery.lane:
            self._came(delivery, holder)
        else:
            self._started += 1
        return self._in_flight.start(self._journey.begin, delivery, partial(self._ended, answer, delivery.lane, holder))

    def open(self) -> None:
        """Start what arrives from now on, and what has arrived before.

        Call it once every queue is consumed: a broker that is short of memory reads nothing more from a connection
        after the first publish on it, and a journey publishes.
        """
        self._opened.set()

    def close(self) -> None:
        """Start nothing more that waits here: it is not acknowledged, so the broker delivers it again."""
        self._closed = True
        self._opened.set()
        for waiting in [each for queue in self._waiting.values() for each in queue]:
            self._tell(waiting, None)

    def _at_once(self, delivery: Delivery, holder: str) -> Answer:
        """The answer that needs no wait, if there is one."""
        if delivery.lane:
            return self._take_for_lane(delivery.lane, holder)
        if move := self.move_of_laned(holder):
            return move
        slot = self._shares.take(holder)
        self._spare_of[INTAKE] += slot is Slot.OVERFLOW
        return slot

    def _may_move(self, delivery: Delivery) -> bool:
        return bool(self._lanes) and not delivery.lane

    def _move(self, holder: str) -> Move:
        self._moves += 1
        self._laned.seen(holder, self._monotonic())
        return Move(lane_of(holder, self._lanes))

    async def _wait(self, delivery: Delivery, holder: str) -> Answer:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(delivery, holder, self._monotonic(), loop.create_future())
        queue = self._waiting.setdefault(delivery.lane, {})
        queue[waiting] = None
        if self._watch is None and not delivery.lane:
            self._watch = loop.call_later(PATIENCE_S, self._look, loop.time(), self._started)
        try:
            return await waiting.answer
        except asyncio.CancelledError:  # its connection is lost, perhaps just after it got a slot
            if not waiting.answer.cancelled() and isinstance(slot := waiting.answer.result(), Slot):
                self._free(slot, delivery.lane, holder)
            raise
        finally:
            queue.pop(waiting, None)

    def _look(self, since: float, started: int) -> None:
        """Look at what waits for a slot of the intake, and move what should not wait any longer."""
        self._watch, loop = None, asyncio.get_running_loop()
        in_time = (self._started - started, loop.time() - since)
        for waiting in tuple(self._waiting[INTAKE]):
            if self._should_lane(waiting) and sorting_pays(*in_time, self._monotonic() - waiting.since):
                self._lane(waiting)
        self._postponed.clear()
        if self._waiting[INTAKE]:
            self._watch = loop.call_later(PATIENCE_S, self._look, loop.time(), self._started)

    def _should_lane(self, waiting: _Waiting) -> bool:
        """Whether its tenant holds slots with sends. Where tries end with a wait, they sort the intake themselves."""
        if waiting.answer.done() or waiting.holder in self._postponed:
            return False
        return self._may_move(waiting.delivery) and self._shares.holds(waiting.holder)

    def _lane(self, waiting: _Waiting) -> None:
        move = self._move(waiting.holder)
        if self._laned.add(waiting.holder, self._monotonic()):
            log.info("tenant_laned", tenantId=waiting.holder, lane=move.lane)
        self._tell(waiting, move)

    def _came(self, delivery: Delivery, holder: str) -> None:
        moved = moved_at(delivery.incoming.headers) or self._now()
        waited_s = (self._now() - moved).total_seconds()
        self._laned.came(holder, waited_s, self._monotonic())

    def _ended(self, slot: Slot, lane: str, holder: str, *, postponed: bool) -> None:
        if postponed and self._watch:
            self._postponed.add(holder)
        if lane:
            self._laned.left(holder, self._monotonic())
        self._free(slot, lane, holder)

    def _free(self, slot: Slot, source: str, holder: str) -> None:
        """Give a slot to what waits for one."""
        self._shares.give_back(slot, holder)
        self._spare_of[source] -= slot is not Slot.REGULAR
        if waiting := self._first(INTAKE, self._shares.take_regular):
            self._tell(waiting, Slot.REGULAR)
        while self._give_to_next():
            pass

    def _give_to_next(self) -> bool:
        """Give one slot to a source that waits: to the one with the fewest spare slots, if there is one for it.

        Not in turns: a lane whose tries take long would hold all of them in the end.
        """
        waiting_sources = [source for source, queue in self._waiting.items() if queue]
        for source in sorted(waiting_sources, key=self._spare_of.__getitem__):
            slot: Slot | None = None
            if waiting := self._first(source, self._shares.take_lane if source else self._shares.take_overflow):
                slot = Slot.LANE if source else Slot.OVERFLOW
                self._spare_of[source] += 1
            elif source and (waiting := self._first(source, self._shares.take_regular_from_lane)):
                slot = Slot.REGULAR
            if waiting and slot:
                self._tell(waiting, slot)
                return True
        return False

    def _take_for_lane(self, lane: str, holder: str) -> Slot | None:
        if self._shares.take_lane(holder):
            self._spare_of[lane] += 1
            return Slot.LANE
        return Slot.REGULAR if self._shares.take_regular_from_lane(holder) else None

    def _first(self, source: str, take: Callable[[str], bool]) -> _Waiting | None:
        """The first that waits and gets a slot. Hundreds may wait, mostly of few tenants: each tenant is asked once."""
        refused = set[str]()
        for waiting in self._waiting[source]:
            if waiting.holder in refused or waiting.answer.done():
                continue
            if take(waiting.holder):
                return waiting
            refused.add(waiting.holder)
        return None

    def _tell(self, waiting: _Waiting, answer: Answer) -> None:
        self._waiting[waiting.delivery.lane].pop(waiting, None)
        if not waiting.answer.done():
            waiting.answer.set_result(answer)
