"""How a command ends: its exit code, and what an operator reads when it cannot be done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from enum import IntEnum
from typing import Any, TypeVar

import typer

from stream.operations.signals import on_signal

T = TypeVar("T")


class ExitCode(IntEnum):
    """What scripts may rely on."""

    DONE = 0
    STOPPED = 1  # a job that stopped itself, or a signal
    WRONG_USE = 2  # arguments or settings; typer's own too
    UNREACHABLE = 3  # no connection, or no right
    LOCKED = 4  # somebody else works on it


class CommandFailed(Exception):  # noqa: N818 - it reads as what it is
    """The command cannot be done.

    Attributes:
        code: The exit code.
    """

    def __init__(self, sentence: str, code: ExitCode) -> None:
        super().__init__(sentence)
        self.code = code


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do a command's work. A failure that was foreseen becomes one sentence on stderr and an exit code.

    Raises:
        typer.Exit: With the code.
    """
    try:
        return asyncio.run(_until_told(work))
    except CommandFailed as failed:
        typer.echo(str(failed), err=True)
        raise typer.Exit(failed.code) from None


async def _until_told(work: Coroutine[Any, Any, T]) -> T:
    """Do the work until its end, or a signal: then it gives back what it holds.

    Raises:
        CommandFailed: It was stopped, or failed itself.
    """
    task, told = asyncio.current_task(), list[str]()

    def stop(name: str) -> None:
        told.append(name)
        if task:
            task.cancel()

    with on_signal(stop):
        try:
            return await work
        except asyncio.CancelledError:
            if not told:
                raise
            raise CommandFailed(f"stopped by {told[0]}", ExitCode.STOPPED) from None
