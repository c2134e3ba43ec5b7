"""One run of a job over one look at the queue: publish a copy, note it, take the letter off.

The order of these three is what makes an interruption harmless. Interrupted before the publish: the letter lies there,
and is replayed at the next run. Between publish and note: it lies there and counts as `publishing`; the next run looks
for its copy (in the ledger, or as a new letter of this job) and publishes the same one again only if there is none, and
then the ledger lets only one of the two be sent (no copy is sent while Redis is away). Between note and take-off: the
next run only takes it off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, starmap
from typing import Final

from aio_pika.message import IncomingMessage
from aiormq.abc import AbstractChannel

from stream.broker.handover import Handover
from stream.broker.look import Look
from stream.broker.republish import NotRepublishable
from stream.contract.queues import INTAKE_EXCHANGE
from stream.contract.replay import Replay
from stream.operations.dead_letters import copying
from stream.operations.dead_letters.brake import Brake, Stopped
from stream.operations.dead_letters.job import OPEN, SENT_ON, Entry, Job, JobStore, Status
from stream.operations.dead_letters.known import known_of, known_of_either, status_by
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.looking import Seen
from stream.operations.dead_letters.ramp import Step, Tally, judged_with, must_stop, steps
from stream.operations.dead_letters.spool import Spool
from stream.redis.client import Client

AT_ONCE: Final = 32  # publishes in flight
POLL_S: Final = 0.2


@dataclass(slots=True)
class Kept:
    """A letter that lies on the queue and belongs to the job.

    Attributes:
        letter: What it says.
        tag: By which it is taken off.
        place: Where its message is in the spool.
    """

    letter: Letter
    tag: int
    place: tuple[int, int]


class _Left(Exception):  # noqa: N818 - a decision
    """A letter is not sent; its status says why."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


class Session:
    """Brings a job forward, as far as one look goes.

    Args:
        job: The job.
        entries: Its letters.
        redis: For the ledger, and for the record.
        spool: Holds the messages of its letters.
        brake: Stops it.
        advanced: Called for each letter that is dealt with.
        clock: The moment, in UTC.
    """

    def __init__(
        self,
        job: Job,
        entries: dict[str, Entry],
        redis: Client,
        spool: Spool,
        *,
        brake: Brake,
        advanced: Callable[[], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._job = job
        self._entries = entries
        self._redis = redis
        self._store = JobStore(redis)
        self._brake = brake
        self._advanced = advanced
        self._clock = clock
        self._kept: dict[str, list[Kept]] = {}
        self._failed: set[str] = set()
        self._judged: list[str] = []  # the ramp's step, or the last ones
        self._took_off = False
        self._missed_some = False
        self._handover = Handover()
        self._spool = spool
        self._look: Look
        self._channel: AbstractChannel

    def visit(self, seen: Seen) -> None:
        """Keep a letter of the job; note one that has failed again."""
        letter, entry = seen.letter, self._entries.get(seen.letter.id)
        self._channel = seen.message.channel
        if letter.job == self._job.id and (origin := copying.replayed_letter(letter.replayed_from)):
            self._failed.add(origin)
        if entry is None:
            return
        entry.missed = False
        if entry.status is Status.GONE:
            entry.status = Status.PUBLISHING if entry.key else Status.PENDING  # it is here after all
        if entry.status in OPEN | SENT_ON:
            place = self._spool.keep(seen.message) if entry.status in OPEN else (0, 0)
            self._kept.setdefault(letter.id, []).append(Kept(letter, seen.message.delivery_tag or 0, place))

    async def run(self, look: Look) -> bool:
        """Replay what is left.

        Returns:
            Whether to look again: letters were taken off, which RabbitMQ does not confirm, or it did not show all. One
            look is not enough to call a letter gone: it may have begun while another one gave its letters back.

        Raises:
            Stopped: By the operator, by a signal, or because too many fail again.
        """
        self._look, shown_all = look, look.seen >= look.goal
        await self._clear_up(shown_all=shown_all)
        open_ones = list(self._kept)  # in their order on the queue
        at = iter(open_ones)
        for step in steps(len(open_ones), self._job.options.rate):
            await self._take(step, list(islice(at, step.size)))
        await self._learn(self._entries)
        return self._took_off or self._missed_some or not shown_all

    async def _clear_up(self, *, shown_all: bool) -> None:
        """Finish what an earlier run began."""
        begun = [name for name, entry in self._entries.items() if entry.status is Status.PUBLISHING]
        await self._learn(begun)
        for name, entry in self._entries.items():
            if shown_all and entry.status in OPEN and name not in self._kept:
                await self._miss(name)
        done = [name for name in self._kept if self._entries[name].status in SENT_ON]
        for name in done:
            await self._take_off(name)

    async def _miss(self, name: str) -> None:
        entry = self._entries[name]
        if entry.missed:
            await self._note(name, Status.GONE)
        else:
            entry.missed = self._missed_some = True

    async def _take(self, step: Step, names: list[str]) -> None:
        """Replay the letters of a step, and wait for their outcomes where the step does."""
        places, clock = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop().time
        started = clock()

        async def one(number: int, name: str) -> None:
            await self._brake.pause(started + number / self._job.options.rate - clock())
            async with places:
                if not self._brake.reason:
                    await self._send_on(name)

        ends = await asyncio.gather(*starmap(one, enumerate(names)), return_exceptions=True)  # no one is cut short
        for error in filter(None, ends):
            raise error
        self._brake.check()
        waiting = {name for name in self._judged if self._entries[name].status is Status.REPLAYED}
        self._judged = names if step.in_ramp else judged_with(self._judged, waiting, names)
        await self._judge(self._judged, wait=step.waits)

    async def _send_on(self, name: str) -> None:
        kept, edits = self._kept[name][0], self._job.options.edits
        message = self._spool.take(kept.place, self._channel)
        try:
            resend = await self._resend(name, message)
            copy = copying.copy_for(message, kept.letter, self._job.id, edits, resend)
        except _Left as left:
            await self._note(name, left.status)
            return
        except NotRepublishable:
            await self._note(name, Status.NO_COPY)
            return
        await self._note(name, Status.PUBLISHING, copying.copy_key(message, edits, resend))
        key = copying.routing_key(kept.letter, message.headers)
        await self._handover.publish(message, copy, exchange=INTAKE_EXCHANGE, routing_key=key)
        await self._note(name, Status.REPLAYED)
        await self._take_off(name)

    async def _resend(self, name: str, message: IncomingMessage) -> str | None:
        """The resend that a letter is sent as; `None` if it is sent as itself.

        A letter whose copy may be on the intake keeps what that copy is: the ledger lets one of the two be sent.

        Raises:
            _Left: It is not sent.
        """
        entry, options, resend = self._entries[name], self._job.options, copying.resend_of(name)
        letter = self._kept[name][0].letter
        resent = copying.copy_key(message, options.edits, resend)
        if entry.status is Status.PUBLISHING:
            return resend if entry.key == resent else None
        (known,) = await known_of_either(self._redis, [copying.ledger_key(message.body, message.headers)], [resent])
        if known.wamid is not None:
            raise _Left(Status.ALREADY_SENT)
        if letter.ends <= self._clock():
            raise _Left(Status.EXPIRED)
        in_doubt = known.in_doubt or letter.replay is Replay.IN_DOUBT
        if in_doubt and not options.allowed.in_doubt:
            raise _Left(Status.IN_DOUBT)
        return resend if in_doubt else None

    async def _judge(self, names: list[str], *, wait: bool) -> None:
        """Learn the outcomes of a step, and stop if it has gone badly."""
        clock = asyncio.get_running_loop().time
        ends = clock() + (self._job.options.patience_s if wait else 0.0)
        while True:
            await self._learn(names)
            tally = self._tally(names)
            patient = wait and clock() < ends and tally.waiting > 0
            if must_stop(tally, self._job.options.stop_at, patient=patient or not wait):
                raise Stopped(
                    f"{tally.failed} of {tally.total} letters failed again, and {tally.waiting} have no outcome yet"
                )
            if not patient:
                return
            self._brake.check()
            await self._look.make_room()
            await self._brake.pause(POLL_S)

    async def _learn(self, names: Iterable[str]) -> None:
        """Find out what became of letters whose copies are on their way."""
        asked = [name for name in names if self._entries[name].status in {Status.PUBLISHING, Status.REPLAYED}]
        known = await known_of(self._redis, [self._entries[name].key for name in asked])
        learnt: dict[str, Entry] = {}
        for name, found in zip(asked, known, strict=True):
            entry = self._entries[name]
            status = status_by(found, entry.status, came_back=name in self._failed)
            if status is not entry.status:
                entry.status, learnt[name] = status, entry
        await self._store.note(self._job.id, learnt)

    def _tally(self, names: Iterable[str]) -> Tally:
        statuses = [self._entries[name].status for name in names]
        return Tally(
            delivered=statuses.count(Status.DELIVERED),
            failed=statuses.count(Status.FAILED),
            waiting=statuses.count(Status.REPLAYED),
        )

    async def _note(self, name: str, status: Status, key: str | None = None) -> None:
        entry = self._entries[name]
        entry.status, entry.key = status, entry.key if key is None else key
        await self._store.note(self._job.id, {name: entry})
        if status not in OPEN:
            self._advanced()

    async def _take_off(self, name: str) -> None:
        self._took_off = True
        for each in self._kept.pop(name):
            await self._look.take_off(each.tag)
