"""Journeys in flight: tasks that run to their end, separate from the handlers that started them.

aio-pika cancels every handler when a connection is lost, also during the request to Meta. If a request is cut off, the
worker cannot know whether the message was sent. So each journey is a separate task, which a handler only starts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from stream.delivery import report
from stream.delivery.arrival import Delivery

WATCH_EVERY_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Running:
    """A journey that runs.

    Attributes:
        started: When it began, in seconds of `InFlight`'s clock.
        delivery: What it is about.
        on_tried: Called once, when its try has ended.
        tried: Whether it has.
        reported: It was logged, because it takes long.
    """

    started: float
    delivery: Delivery
    on_tried: Callable[..., None]
    tried: bool = False
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Drained:
    """What a stop found in flight.

    Attributes:
        finished: Messages that were settled in time.
        returned: Messages that were not started, or whose try had ended but which could not be settled: the broker
            delivers them again, and the ledger knows what was sent.
        unknown: Tries that had to be cut off.
    """

    finished: int
    returned: int
    unknown: int


class InFlight:
    """The tries that are running.

    Args:
        monotonic: Seconds.
        now: Seconds since the epoch.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._now = now
        self._running: dict[asyncio.Task[None], _Running] = {}
        self._draining = False
        self._returned = 0

    def __len__(self) -> int:
        return len(self._running)

    def start(
        self,
        work: Callable[[Delivery], Coroutine[Any, Any, None]],
        delivery: Delivery,
        on_tried: Callable[..., None] = lambda **_: None,
    ) -> asyncio.Task[None] | None:
        """Start `work` on a delivery as a separate task, which no cancelled handler ends; nothing while draining.

        `on_tried` is called once, when its try has ended in whatever way, with whether it was postponed.
        """
        if self._draining:
            self.leave()
            return None
        task = asyncio.create_task(work(delivery))
        self._running[task] = _Running(self._monotonic(), delivery, on_tried)
        task.add_done_callback(self._ended)
        return task

    def leave(self) -> None:
        """Count a delivery that is not started: unacknowledged, it goes back to its queue when the channel closes."""
        self._returned += 1

    def tried(self, *, postponed: bool) -> None:
        """Note that the calling task's try has ended, or was postponed; what follows waits for the broker only."""
        task = asyncio.current_task()
        if task is not None and (running := self._running.get(task)) and not running.tried:
            running.tried = True
            running.on_tried(postponed=postponed)

    def oldest_s(self) -> float:
        """Age of the oldest try that has not ended, in seconds; 0 when there is none.

        One that has ended may wait long to be settled, while the broker is frozen or short of memory. That is not the
        worker's fault, and no reason to restart the worker.
        """
        now = self._monotonic()
        return max((now - running.started for running in self._running.values() if not running.tried), default=0.0)

    def oldest_message_s(self) -> float:
        """Age of the oldest message that is being tried, from its publish, in seconds; 0 when there is none."""
        published = (each.delivery.published_at for each in self._running.values())
        return max(0.0, self._now() - min(published, default=float("inf")))

    async def watch(self, limit_s: float) -> None:
        """Log each try that takes longer than `limit_s` seconds, once. Never ends."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            now = self._monotonic()
            for running in self._running.values():
                if now - running.started > limit_s and not running.reported:
                    running.reported = True
                    what = "waiting_for_rabbitmq" if running.tried else "stuck"
                    log.error(
                        what, seconds=round(now - running.started, 1), **report.log_fields(running.delivery.whose)
                    )

    async def settle(self, timeout_s: float) -> None:
        """Wait until nothing runs, for at most `timeout_s` seconds. What waits for a slot starts meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._running:
                    await asyncio.wait(set(self._running))

    async def drain(self, timeout_s: float) -> Drained:
        """Start nothing more, wait for what runs, and cut off what has not ended after `timeout_s` seconds."""
        self._draining = True
        running = set(self._running)
        late: set[asyncio.Task[None]] = set()
        if running:
            _, late = await asyncio.wait(running, timeout=timeout_s)
        unknown = sum(not self._running[task].tried for task in late)
        for task in late:
            cut = self._running[task]
            log.error("not_settled" if cut.tried else "cut_off", **report.log_fields(cut.delivery.whose))
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)
        returned = self._returned + len(late) - unknown
        return Drained(finished=len(running) - len(late), returned=returned, unknown=unknown)

    def _ended(self, task: asyncio.Task[None]) -> None:
        running = self._running.pop(task)
        if not running.tried:
            running.on_tried(postponed=False)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("unexpected_error", exc_info=error)
