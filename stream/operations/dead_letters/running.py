"""Running a job to its end, or until something stops it; starting it again goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from redis.exceptions import RedisError

from stream.operations.dead_letters.brake import Brake, Stopped
from stream.operations.dead_letters.job import OPEN, Entry, Job, JobStore, State, me
from stream.operations.dead_letters.lock import locked, work_under_lock
from stream.operations.dead_letters.looking import letters, patiently
from stream.operations.dead_letters.session import Session
from stream.operations.dead_letters.spool import Spool
from stream.operations.exits import CommandFailed, ExitCode
from stream.operations.progress import progress
from stream.operations.rabbitmq_link import rabbitmq_connection
from stream.operations.redis_link import redis_is_away
from stream.operations.signals import on_signal
from stream.redis.client import Client

MOST_LOOKS: Final = 5  # the last one shows all, and nothing to take off
ASK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of a job ended.

    Attributes:
        because: Why it stopped; empty if the job is done.
        code: What the command ends with.
    """

    because: str = ""
    code: ExitCode = ExitCode.DONE


async def run_job(job: Job, entries: dict[str, Entry], redis: Client, *, fresh: bool) -> Ended:
    """Replay what is left of a job.

    Args:
        job: The job.
        entries: Its letters, and what became of them; filled from its record if it has one.
        redis: The client.
        fresh: It is not written down yet.

    Returns:
        How it ended: a job that was stopped, or that lost a server, can be resumed.

    Raises:
        CommandFailed: It did not begin, as somebody else holds the lock.
    """
    store, brake = JobStore(redis), Brake()
    facts = {"who": me(), "since": datetime.now(UTC).isoformat(), "what": _work(job.id)}
    async with locked(redis, facts, partial(brake.pull, "the lock was lost")), _stoppable(brake, store, job.id):
        if fresh:
            await store.create(job, entries)
        else:
            entries.update(await store.letters(job.id))  # not before: another one may have held the lock, and gone on
        await store.set_state(job.id, State.RUNNING)
        return await _run(job, entries, redis, brake)


async def stop_job(job_id: str, redis: Client) -> bool:
    """Have a job stop; one that nobody runs any more, as its process was killed, is stopped from now on.

    Returns:
        Whether somebody may run it.
    """
    store = JobStore(redis)
    if await work_under_lock(redis) == _work(job_id):  # asked first: a job's end is written before it lets go
        await store.ask_to_stop(job_id)
        return True
    found = await store.find(job_id)
    if found and found.state is State.RUNNING:
        await store.set_state(job_id, State.STOPPED, "nobody runs it: its process has ended")
    return False


def _work(job_id: str) -> str:
    """What the lock says of a job."""
    return f"replays, job {job_id}"


async def _run(job: Job, entries: dict[str, Entry], redis: Client, brake: Brake) -> Ended:
    """Replay, and write down how it ended."""
    store, ended = JobStore(redis), Ended()
    try:
        await _looks(job, entries, redis, brake)
        await store.set_state(job.id, State.DONE)
    except Stopped as stopped:
        ended = Ended(str(stopped), stopped.code)
    except CommandFailed as failed:
        ended = Ended(str(failed), failed.code)
    except RedisError as error:
        ended = Ended(redis_is_away(error), ExitCode.UNREACHABLE)
    if ended.because:
        with suppress(RedisError):
            await store.set_state(job.id, State.STOPPED, ended.because)
    return ended


async def _looks(job: Job, entries: dict[str, Entry], redis: Client, brake: Brake) -> None:
    done = sum(entry.status not in OPEN for entry in entries.values())
    with progress(f"job {job.id}", len(entries)) as bar:

        def advanced() -> None:
            nonlocal done
            done += 1
            bar(done)

        async with rabbitmq_connection() as connection:

            async def one_look() -> bool:
                brake.check()
                with Spool() as spool:
                    session = Session(job, entries, redis, spool, brake=brake, advanced=advanced)
                    async with letters(connection, session.visit, now=datetime.now(UTC)) as look:
                        await look.catch_up(look.goal)
                        return await session.run(look)

            for _ in range(MOST_LOOKS):
                if not await patiently(one_look):
                    return
    raise Stopped("RabbitMQ does not show all letters, or does not take them off")


@asynccontextmanager
async def _stoppable(brake: Brake, store: JobStore, job_id: str) -> AsyncIterator[None]:
    """Let a signal, and `stream jobs stop`, pull the brake."""
    asking = asyncio.create_task(ask(brake, store, job_id))
    try:
        with on_signal(lambda name: brake.pull(f"signal {name}")):
            yield
    finally:
        asking.cancel()


async def ask(brake: Brake, store: JobStore, job_id: str) -> None:
    """Pull the brake once `stream jobs stop` has left word, or Redis cannot be asked any more."""
    while not brake.reason:
        await asyncio.sleep(ASK_S)
        try:
            who = await store.asked_to_stop(job_id)
        except RedisError as error:  # after all tries of the client's
            brake.pull(redis_is_away(error), ExitCode.UNREACHABLE)
        else:
            if who:
                brake.pull(f"{who} asked for it")
