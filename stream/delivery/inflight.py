"""Work that must reach its end: tries in flight, kept apart from the handlers that started them.

aio-pika cancels every handler the moment a connection is lost, also inside the request to Meta. A request that was cut
there would leave nobody knowing whether the message was sent, so each try is a task of its own that the handler only
watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class InFlight:
    """The tries that are running."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` to its end, even if the caller is cancelled meanwhile."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def drain(self, timeout_s: float) -> int:
        """Wait until everything has ended, at most `timeout_s` seconds.

        Returns:
            How many were still running then.
        """
        if not self._tasks:
            return 0
        _, running = await asyncio.wait(self._tasks, timeout=timeout_s)
        return len(running)
