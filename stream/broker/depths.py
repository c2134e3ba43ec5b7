"""How many messages are on the queues, as the broker reports over AMQP: it needs no management API and no rights."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from stream.contract import delays
from stream.contract.queues import DEAD_LETTER_QUEUE, due_queue

FRESH_S: Final = 5.0  # seconds; a reading takes one round trip a queue, and several readers share it
TIMEOUT_S: Final = 2.0


class QueueDepths:
    """Asks for the depths, at most every five seconds.

    Args:
        connection: The connection to RabbitMQ, once there is one.
        intake: `INTAKE_QUEUE`.
        lanes: The names of the lanes, once there are any.
        monotonic: Seconds.
    """

    def __init__(
        self,
        connection: Callable[[], AbstractConnection | None],
        *,
        intake: str,
        lanes: Callable[[], Sequence[str]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._intake = intake
        self._lanes = lanes
        self._monotonic = monotonic
        self._known: Mapping[str, int] | None = None
        self._asked_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def read(self) -> Mapping[str, int] | None:
        """Messages that are ready on `intake`, `lanes` (all), `waiting` (all delay levels), `due` and `failed`.

        Returns:
            `None` while the broker does not answer. Messages in flight with a consumer are not counted.
        """
        async with self._one_at_a_time:
            if self._monotonic() - self._asked_at > FRESH_S:
                self._known = await self._measured()
                self._asked_at = self._monotonic()
            return self._known

    async def probe(self) -> None:
        """Ask for one depth, to check whether the broker answers.

        Raises:
            ConnectionError: There is no connection yet.
            AMQPError: The intake queue is not there.
        """
        if (connection := self._connection()) is None:
            raise ConnectionError
        await count(connection, self._intake)

    async def _measured(self) -> Mapping[str, int] | None:
        if (connection := self._connection()) is None:
            return None
        lane_names = self._lanes()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                levels = [delays.level_name(level) for level in range(delays.LEVELS)]
                named = (self._intake, due_queue(self._intake), DEAD_LETTER_QUEUE)
                intake, due, failed, *others = await count(connection, *named, *lane_names, *levels)
        except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError):
            return None
        lanes, waiting = others[: len(lane_names)], others[len(lane_names) :]
        return {"intake": intake, "lanes": sum(lanes), "waiting": sum(waiting), "due": due, "failed": failed}


async def count(connection: AbstractConnection, *queues: str) -> list[int]:
    """Messages on queues, one round trip each.

    Raises:
        AMQPError: One of them is not there.
    """
    # A separate channel: asking for a queue that is not there closes the channel.
    async with connection.channel(publisher_confirms=False) as channel:
        # The robust channel would answer from memory.
        underlay = await channel.get_underlay_channel()
        return [(await underlay.queue_declare(name, passive=True)).message_count or 0 for name in queues]
