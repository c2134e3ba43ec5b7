"""What stops a job: the operator, a signal, a lock that was lost, or letters that fail again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from stream.operations.exits import ExitCode


class Stopped(Exception):  # noqa: N818 - a state of the job
    """The job stops here; the text says why.

    Attributes:
        code: What the command ends with.
    """

    def __init__(self, reason: str, code: ExitCode = ExitCode.STOPPED) -> None:
        super().__init__(reason)
        self.code = code


class Brake:
    """Why the job is to stop, once somebody wants it to.

    Attributes:
        reason: The first one; empty while nobody does.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._code = ExitCode.STOPPED
        self._pulled = asyncio.Event()

    def pull(self, reason: str, code: ExitCode = ExitCode.STOPPED) -> None:
        """Have the job stop after the letters that are on their way."""
        if not self.reason:
            self.reason, self._code = reason, code
        self._pulled.set()

    def check(self) -> None:
        """Stop here if somebody wants it.

        Raises:
            Stopped: With the reason.
        """
        if self.reason:
            raise Stopped(self.reason, self._code)

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until somebody wants the job to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._pulled.wait()
