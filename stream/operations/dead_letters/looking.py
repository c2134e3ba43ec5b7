"""A look at the dead-letter queue, letter by letter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from aiormq.abc import AbstractConnection, DeliveredMessage

from stream.broker.look import Look, QueueInUse, look_at
from stream.contract.queues import DEAD_LETTER_QUEUE
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.reading import Found, read_letter
from stream.operations.environment import message_max_age
from stream.operations.progress import progress
from stream.operations.rabbitmq_link import rabbitmq_connection

T = TypeVar("T")

STEP: Final = 500  # letters between two steps of the progress bar
PATIENCE_S: Final = 15.0  # for somebody's look to end, while this process holds the lock
AGAIN_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """A letter, and the message that it is.

    Attributes:
        letter: What it says.
        message: The message, for those who keep it.
    """

    letter: Letter
    message: DeliveredMessage


@asynccontextmanager
async def letters(
    connection: AbstractConnection, visit: Callable[[Seen], None], *, now: datetime, gives_back: bool = True
) -> AsyncIterator[Look]:
    """A look at all letters; it lasts as long as the context. One that gives none back need not heed a limit."""
    max_age = message_max_age()

    def read(message: DeliveredMessage) -> None:
        visit(Seen(read_letter(found(message), now=now, max_age=max_age), message))

    async with look_at(connection, DEAD_LETTER_QUEUE, read, gives_back=gives_back) as look:
        yield look


async def patiently(look: Callable[[], Awaitable[T]]) -> T:
    """Look; wait for the end of somebody else's look, as one may come between two of a job.

    Raises:
        QueueInUse: It does not end.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + PATIENCE_S
    while True:
        try:
            return await look()
        except QueueInUse:
            if clock() >= ends:
                raise
        await asyncio.sleep(AGAIN_S)


async def look_through(wanted: Filter, visit: Callable[[Seen], None]) -> int:
    """Show every letter that is wanted.

    Returns:
        How many letters lie there in all.
    """
    now = datetime.now(UTC)

    def pick(seen: Seen) -> None:
        if wanted.takes(seen.letter, now):
            visit(seen)

    async with rabbitmq_connection() as connection, letters(connection, pick, now=now) as look:
        with progress("looking", look.goal) as bar:
            while look.seen < look.goal and await look.catch_up(min(look.goal, look.seen + STEP)):
                bar(look.seen)
        return look.seen


def found(message: DeliveredMessage) -> Found:
    """What of a message is read."""
    properties = message.header.properties
    return Found(
        body=message.body,
        headers=properties.headers or {},
        sent=_aware(properties.timestamp),
    )


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
