"""Running a job to its end, or until something stops it; starting it again goes on where it was."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from redis.asyncio import Redis

from stream.operations.dead_letters.job import OPEN, Entry, Job, JobStore, State, me
from stream.operations.dead_letters.lock import locked
from stream.operations.dead_letters.looking import letters
from stream.operations.dead_letters.session import Session, Stopped
from stream.operations.dead_letters.spool import Spool
from stream.operations.exits import CommandFailed
from stream.operations.progress import progress
from stream.operations.rabbitmq_link import rabbitmq_connection

MOST_LOOKS: Final = 5  # the last one shows all, and nothing to take off
ASK_S: Final = 1.0


class Brake:
    """Why the job is to stop, once somebody wants it to."""

    def __init__(self) -> None:
        self.reason = ""

    def pull(self, reason: str) -> None:
        """Have the job stop after the letters that are on their way."""
        self.reason = self.reason or reason


async def run_job(job: Job, entries: dict[str, Entry], redis: Redis, *, fresh: bool) -> str:
    """Replay what is left of a job.

    Args:
        job: The job.
        entries: Its letters, and what became of them; filled from its record if it has one.
        redis: The client.
        fresh: It is not written down yet.

    Returns:
        Why it stopped; empty if it is done.

    Raises:
        CommandFailed: Somebody else holds the lock, or a server was lost; the job can be resumed.
    """
    store, brake = JobStore(redis), Brake()
    facts = {"who": me(), "since": datetime.now(UTC).isoformat(), "what": f"replays, job {job.id}"}
    async with locked(redis, facts, lambda: brake.pull("the lock was lost")), _stoppable(brake, store, job.id):
        if fresh:
            await store.create(job, entries)
        else:
            entries.update(await store.letters(job.id))  # not before: another one may have held the lock, and gone on
        await store.set_state(job.id, State.RUNNING)
        try:
            await _looks(job, entries, redis, brake)
        except Stopped as stopped:
            await store.set_state(job.id, State.STOPPED, str(stopped))
            return str(stopped)
        except CommandFailed as failed:
            await store.set_state(job.id, State.STOPPED, str(failed))
            raise CommandFailed(f"{failed}; go on with: stream jobs resume {job.id}", failed.code) from None
        await store.set_state(job.id, State.DONE)
    return ""


async def _looks(job: Job, entries: dict[str, Entry], redis: Redis, brake: Brake) -> None:
    done = sum(entry.status not in OPEN for entry in entries.values())
    with progress(f"job {job.id}", len(entries)) as bar:

        def advanced() -> None:
            nonlocal done
            done += 1
            bar(done)

        async with rabbitmq_connection() as connection:
            for _ in range(MOST_LOOKS):
                with Spool() as spool:
                    session = Session(job, entries, redis, spool, stop=lambda: brake.reason, advanced=advanced)
                    async with letters(connection, session.visit, now=datetime.now(UTC)) as look:
                        await look.catch_up(look.goal)
                        again = await session.run(look)
                if not again:
                    return
    raise Stopped("RabbitMQ does not show all letters, or does not take them off")


@asynccontextmanager
async def _stoppable(brake: Brake, store: JobStore, job_id: str) -> AsyncIterator[None]:
    """Let a signal, and `stream jobs stop`, pull the brake."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, brake.pull, f"signal {signal.Signals(number).name}")
    asking = asyncio.create_task(_ask(brake, store, job_id))
    try:
        yield
    finally:
        asking.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _ask(brake: Brake, store: JobStore, job_id: str) -> None:
    while not brake.reason:
        await asyncio.sleep(ASK_S)
        if who := await store.asked_to_stop(job_id):
            brake.pull(f"{who} asked for it")
