"""How many tries ended in the last minute, and how many of them failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SECONDS: Final = 60


class LastMinute:
    """Counts in sixty slots of a second each.

    Args:
        monotonic: Seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._slots = [(-1, 0, 0)] * SECONDS  # second, tries, failures

    def count(self, *, failed: bool) -> None:
        """One more try has ended; `failed` unless its message was delivered or waits for another try's send."""
        now = int(self._monotonic())
        second, tries, failures = self._slots[now % SECONDS]
        if second != now:
            tries = failures = 0
        self._slots[now % SECONDS] = (now, tries + 1, failures + failed)

    def rates(self) -> tuple[float, float]:
        """Tries per second, and the share of failed tries, from 0 to 1."""
        now = int(self._monotonic())
        recent = [(tries, failures) for second, tries, failures in self._slots if now - second < SECONDS]
        tries = sum(tries for tries, _ in recent)
        failed = sum(failures for _, failures in recent)
        return tries / SECONDS, failed / tries if tries else 0.0
