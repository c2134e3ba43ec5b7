"""What aiormq raises when a connection is lost, told apart from what looks the same."""

from __future__ import annotations

import asyncio


def is_being_cancelled() -> bool:
    """Whether somebody cancels the present task.

    aiormq raises `CancelledError` also from a call under which the connection dies. Only a real one goes on up.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def tells_a_loss(error: BaseException) -> bool:
    """Whether aiormq raised this from a call because the connection was lost.

    It cancels what waits for an answer, and what it raises for a connection that ends between two frames has no class
    of its own.
    """
    if isinstance(error, asyncio.CancelledError):
        return not is_being_cancelled()
    return type(error) is Exception


def loss(error: BaseException | None) -> str:
    """Why a connection ended. aiormq cancels the reader of one on which nothing came for three heartbeats."""
    if isinstance(error, asyncio.CancelledError):
        return "nothing came for three heartbeats: the node is frozen, or cut off from this worker"
    return f"{type(error).__name__}: {error}"
