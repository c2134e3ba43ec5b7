"""Tests run in two processes at the same time; one that needs both of the machine's cores runs alone."""

from __future__ import annotations

import asyncio
import fcntl
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final

import pytest

FOLDER: Final = Path(tempfile.gettempdir())


@pytest.fixture(autouse=True)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """A test marked `alone` starts when no other runs, and no other starts until it ends.

    It holds the door while the others finish: they would go in again before it.
    """
    how = fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH
    with ExitStack() as files:
        door, machine = (
            files.enter_context((FOLDER / f"stream-tests-{name}").open("w")) for name in ("door", "machine")
        )
        await _lock(door, how)
        await _lock(machine, how)
        if how == fcntl.LOCK_SH:
            fcntl.flock(door, fcntl.LOCK_UN)
        yield


async def _lock(file: IO[str], how: int) -> None:
    """Wait in a thread: the session's connections need their event loop."""
    await asyncio.to_thread(fcntl.flock, file, how)
