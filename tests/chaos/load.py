"""Messages published at a steady rate while servers fail, each until RabbitMQ confirms it, and what became of them."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Final

import orjson
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractRobustConnection

from sandbox.broker import connect
from stream.contract.queues import INTAKE_EXCHANGE
from tests.scene import Scene, number, text_message, unique

RATE: Final = 100  # messages a second
WAITING: Final = 500  # messages on the delay levels before anything fails
THROTTLED: Final = "99967"  # these are refused once for the rate, so they wait for ten seconds
TENANTS: Final = 10
CONFIRM_S: Final = 5.0
SETTLED_WITHIN_S: Final = 60.0


class Load:
    """Use `load_on`.

    Args:
        stage: Where its messages go.
        connection: The publisher's own.
    """

    def __init__(self, stage: Scene, connection: AbstractRobustConnection) -> None:
        self.published: dict[str, str] = {}  # recipient → internal id
        self._stage = stage
        self._connection = connection
        self._channel: AbstractChannel | None = None
        self._over = asyncio.Event()

    async def publish_steadily(self) -> None:
        """Publish until `settle`; what a failure held up is made up for."""
        started, count = time.monotonic(), 0
        while not self._over.is_set():
            if count > (time.monotonic() - started) * RATE:
                await asyncio.sleep(0.005)
                continue
            body, count = self._message("1650555"), count + 1
            while not await self._confirmed(body):  # noqa: ASYNC110 - RabbitMQ comes back when it does
                await asyncio.sleep(0.2)

    async def let_many_wait(self) -> None:
        """Publish messages that are throttled until `WAITING` are on the delay levels."""
        for _ in range(WAITING // 50):
            await asyncio.gather(*(self._confirmed(self._message(THROTTLED)) for _ in range(50)))
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while await self._stage.outside.waiting() < WAITING * 0.9:  # noqa: ASYNC110 - on a server
                await asyncio.sleep(0.1)

    async def settle(self) -> None:
        """Publish no more, and check that every message was sent, and none twice without a word."""
        self._over.set()
        await self._stage.all_accepted(list(self.published), SETTLED_WITHIN_S)
        lines = [line for worker in self._stage.workers for line in worker.lines()]
        told = {line["internalId"] for line in lines if line["event"] == "sending_again_after_unknown_outcome"}
        assert [name for name in self.sent_twice() if name not in told] == []

    def sent_twice(self) -> list[str]:
        """The internal ids of messages that Meta took more than once."""
        return [name for to, name in self.published.items() if len(self._stage.taken(to)) > 1]

    def sent(self, since: float, until: float) -> int:
        """How many messages Meta took between two times of `time.monotonic`."""
        times = self._times()
        return bisect_left(times, until) - bisect_left(times, since)

    def longest_pause_s(self, since: float, until: float) -> float:
        """The longest time in which Meta took none."""
        times = [since, *(each for each in self._times() if since < each < until), until]
        return max(later - earlier for earlier, later in pairwise(times))

    def _times(self) -> list[float]:
        return sorted(
            request.received_at for request in self._stage.graph.accepted if request.recipient in self.published
        )

    async def _confirmed(self, body: bytes) -> bool:
        try:
            async with asyncio.timeout(CONFIRM_S):
                self._channel = self._channel or await self._connection.channel()
                exchange = await self._channel.get_exchange(INTAKE_EXCHANGE, ensure=False)
                await exchange.publish(Message(body, delivery_mode=DeliveryMode.PERSISTENT), "outbound.processed.any")
        except Exception:  # noqa: BLE001 - an outage raises many errors; after each, publish again
            # RabbitMQ 3.10 goes on to refuse whatever comes on a channel that has met a queue without a leader.
            self._channel = None
            return False
        except asyncio.CancelledError:  # a connection that is lost raises this too
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            return False
        return True

    def _message(self, prefix: str) -> bytes:
        to, internal_id = number(prefix), unique("id")
        self.published[to] = internal_id
        return orjson.dumps(text_message(to, f"tenant-{len(self.published) % TENANTS}", internal_id))


@asynccontextmanager
async def load_on(stage: Scene, url: str) -> AsyncIterator[Load]:
    """A steady load, with many messages waiting; its publisher is connected to these addresses."""
    connection = await connect(url)
    load = Load(stage, connection)
    try:
        await load.let_many_wait()
        async with asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(load.publish_steadily())
            yield load
            publishing.cancel()
    finally:
        await connection.close()
