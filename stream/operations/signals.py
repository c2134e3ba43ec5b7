"""SIGINT and SIGTERM: what a command does when it is told to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

Act = Callable[[str], None]

_acting: ContextVar[Act | None] = ContextVar("_acting", default=None)


@contextmanager
def on_signal(act: Act) -> Iterator[None]:
    """Have a signal call `act` with its name. Inside another `on_signal`, that one acts again afterwards."""
    before, token = _acting.get(), _acting.set(act)
    _register(act)
    try:
        yield
    finally:
        _acting.reset(token)
        _register(before)


def _register(act: Act | None) -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        if act is None:
            loop.remove_signal_handler(number)
        else:
            loop.add_signal_handler(number, act, number.name)
