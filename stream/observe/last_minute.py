"""How many messages were settled in the last minute, and how many of them failed."""

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
        self._slots = [(-1, 0, 0)] * SECONDS  # second, settled, failed

    def count(self, *, failed: bool) -> None:
        """One more message has been settled; `failed` when it was dead-lettered."""
        now = int(self._monotonic())
        second, settled, failures = self._slots[now % SECONDS]
        if second != now:
            settled = failures = 0
        self._slots[now % SECONDS] = (now, settled + 1, failures + failed)

    def rates(self) -> tuple[float, float]:
        """Messages settled per second, and the share of them that failed, 0 to 1."""
        now = int(self._monotonic())
        recent = [(settled, failed) for second, settled, failed in self._slots if now - second < SECONDS]
        settled = sum(settled for settled, _ in recent)
        failed = sum(failed for _, failed in recent)
        return settled / SECONDS, failed / settled if settled else 0.0
