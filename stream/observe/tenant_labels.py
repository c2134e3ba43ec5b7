"""Which tenants have their own label in the metrics: ten thousand tenants must not become ten thousand series."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

OTHER: Final = "other"
RANK_EVERY_S: Final = 60.0
MOST_COUNTED: Final = 50_000  # tenants between two rankings; far more than one replica serves in a minute


class TenantLabels:
    """The busiest tenants by name, all others as `other`.

    Ranked when the metrics are read, at most once a minute. A tenant that moves up starts a new series at zero, one
    that moves down loses its series: for Prometheus' `rate` that is a normal counter reset.

    Args:
        limit: How many have their own label.
        demoted: Called with a tenant that has lost its label.
        monotonic: Seconds.
    """

    def __init__(
        self, limit: int, *, demoted: Callable[[str], None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._demoted = demoted
        self._monotonic = monotonic
        self._ranked_at = monotonic()
        self._named: dict[str, float] = {}  # → its score at the last ranking
        self._seen: dict[str, int] = {}

    def label(self, tenant: str) -> str:
        """What to put into the tenant label; it counts one more for this tenant's rank."""
        seen = self._seen
        if tenant in seen:
            seen[tenant] += 1
        elif len(seen) < MOST_COUNTED:
            seen[tenant] = 1
        if tenant in self._named:
            return tenant
        if len(self._named) < self._limit:
            self._named[tenant] = 0.0
            return tenant
        return OTHER

    def rank(self) -> None:
        """Give the labels of less busy tenants to busier ones."""
        now = self._monotonic()
        if now - self._ranked_at < RANK_EVERY_S:
            return
        self._ranked_at = now
        scores = {name: score / 2 + self._seen.get(name, 0) for name, score in self._named.items()}
        newcomers = sorted((name for name in self._seen if name not in scores), key=self._seen.__getitem__)
        # Twice as busy, so that two tenants of the same size do not change places every minute.
        for quiet in sorted(scores, key=scores.__getitem__):
            if not newcomers or self._seen[newcomers[-1]] <= 2 * scores[quiet]:
                break
            del scores[quiet]
            self._demoted(quiet)
            busy = newcomers.pop()
            scores[busy] = float(self._seen[busy])
        self._named = scores
        self._seen = {}
