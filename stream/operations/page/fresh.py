"""One look for all who ask: ten operators and a held F5 key cost the worker no more than one reader."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from stream.operations.page.overview import Snapshot

FRESH_S: Final = 10.0  # so long a snapshot is shown again
PATIENCE_S: Final = 12.0  # a reader waits so long: a look and its end


class FreshSnapshot:
    """Takes a snapshot when somebody asks, one at a time.

    Args:
        take: Takes one.
        monotonic: Seconds.
    """

    def __init__(
        self, take: Callable[[], Awaitable[Snapshot]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._take = take
        self._monotonic = monotonic
        self._ended = float("-inf")
        self._taking: asyncio.Task[Snapshot] | None = None

    async def read(self) -> Snapshot:
        """The latest snapshot, or one that is taken now.

        A reader who goes away, or whose patience ends, does not end the look: others wait for it.

        Raises:
            TimeoutError: It takes too long, as when RabbitMQ does not answer.
        """
        if self._taking is None or (self._taking.done() and self._monotonic() - self._ended > FRESH_S):
            self._taking = asyncio.create_task(self._take_and_note())
        return await asyncio.wait_for(asyncio.shield(self._taking), PATIENCE_S)

    async def _take_and_note(self) -> Snapshot:
        try:
            return await self._take()
        finally:
            self._ended = self._monotonic()
