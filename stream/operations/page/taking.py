"""Taking a snapshot for the page: a short look at the queue on a connection of its own, and a few reads of Redis.

It runs in a worker that delivers meanwhile. So it takes a bounded number of letters and a bounded time, and what it
cannot find out is a sentence on the page, never an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from aiormq.abc import AbstractConnection, DeliveredMessage
from redis.exceptions import RedisError

from stream.broker.look import ANSWER_S, Look, look_at
from stream.contract.queues import DEAD_LETTER_QUEUE
from stream.operations.dead_letters.job import JobStore
from stream.operations.dead_letters.looking import found
from stream.operations.dead_letters.reading import read_letter
from stream.operations.exits import CommandFailed
from stream.operations.page.overview import Letters, Overview, Snapshot, Trouble
from stream.operations.rabbitmq_link import rabbitmq_connection
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.traffic.by_hand import CircuitsByHand, Place
from stream.traffic.circuit import Circuit

MOST_LETTERS: Final = 5_000  # read for one page: about a second of a worker's time
LOOK_S: Final = 5.0  # then the look ends with what it has read
REDIS_S: Final = 3.0
MOST_CIRCUITS: Final = 50
MOST_JOBS: Final = 10
ALL: Final = "`stream dead-letters groups` reads all."


@dataclass(frozen=True, slots=True)
class Taking:
    """How a snapshot is taken.

    Attributes:
        rabbitmq_url: The worker's own `RABBITMQ_URL`.
        redis: The worker's own link.
        max_age: `MESSAGE_MAX_AGE_MS`.
        whole: Whether the queue may be taken only as a whole, as a quorum queue; asked at each look.
        most: Letters that are read.
    """

    rabbitmq_url: str
    redis: RedisLink
    max_age: timedelta
    whole: Callable[[], bool]
    most: int = MOST_LETTERS

    async def take(self) -> Snapshot:
        """A snapshot of now."""
        now = datetime.now(UTC)
        letters, trouble = await asyncio.gather(self._letters(now), self._trouble())
        return Snapshot(now, letters, trouble)

    async def _letters(self, now: datetime) -> Letters:
        overview = Overview(now)
        try:
            async with rabbitmq_connection(self.rabbitmq_url) as connection:
                lying = await _lying(connection)
                sentence = await self._look(connection, overview, lying)
        except CommandFailed as failed:
            return Letters(overview, sentence=f"{failed}.")
        return Letters(overview, lying, sentence)

    async def _look(self, connection: AbstractConnection, overview: Overview, lying: int) -> str:
        """Read letters.

        Returns:
            Why not all were read.
        """
        whole = self.whole()
        if whole and lying > self.most:
            return f"A quorum queue is read as a whole or not at all, and this page reads {self.most:,} letters. {ALL}"

        def visit(message: DeliveredMessage) -> None:
            overview.add(read_letter(found(message), now=overview.now, max_age=self.max_age))

        async with look_at(connection, DEAD_LETTER_QUEUE, visit, most=None if whole else self.most) as look:
            if not await caught_up(look):
                return f"The look ended after {LOOK_S:g} seconds, so newer letters are not counted here. {ALL}"
        if overview.count < lying:
            return f"This page reads {self.most:,} letters, so newer ones are not counted here. {ALL}"
        return ""

    async def _trouble(self) -> Trouble:
        try:
            async with asyncio.timeout(REDIS_S):
                circuits = await self._circuits()
                jobs = await JobStore(self.redis.redis).headlines(MOST_JOBS)
        except (RedisAway, RedisError, OSError, TimeoutError):
            return Trouble(sentence="Redis does not answer, so neither circuits nor jobs are known.")
        return Trouble(circuits, jobs)

    async def _circuits(self) -> list[tuple[Place, Circuit]]:
        found: list[tuple[Place, Circuit]] = []
        async for each in CircuitsByHand(self.redis).open_ones():
            found.append(each)
            if len(found) == MOST_CIRCUITS:
                break
        return found


async def _lying(connection: AbstractConnection) -> int:
    channel = await connection.channel()
    state = await channel.queue_declare(DEAD_LETTER_QUEUE, passive=True, timeout=ANSWER_S)
    await channel.close()
    return state.message_count or 0


async def caught_up(look: Look) -> bool:
    """Read what the look may take, for `LOOK_S` at most; false if that was too short."""
    try:
        async with asyncio.timeout(LOOK_S):
            await look.catch_up(look.goal)
    except TimeoutError:
        return False
    return True
