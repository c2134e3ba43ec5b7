"""Whose record struggles at the Tenant Service, and whether it is the service itself. No I/O.

Struggling is a tenant's own state: its record fails or hangs, and others must not wait for that. The service itself is
struggling when fetches of several tenants have failed and none of any tenant was answered since they began.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stream.contract.identifiers import TenantId
from stream.retry import RetryHandler

SEVERAL: Final = 3  # tenants; two broken records at a time are not the service
LONGEST_PAUSE_S: Final = 10.0  # how long a record that works again may go unnoticed
REMEMBERED: Final = 10_000  # tenants; one that is forgotten may keep a message waiting once more


@dataclass(slots=True)
class _Struggle:
    """One tenant's.

    Attributes:
        failures: Fetches that failed since the last answer.
        pause_ends: When the next fetch may begin.
        reason: What the last one said.
    """

    failures: int = 0
    pause_ends: float = -math.inf
    reason: str = "the Tenant Service is slow"


class Struggles:
    """Remembers failures until an answer comes: a refusal is one too, it says that the service is there.

    Args:
        retry: Computes the pause before a tenant's next fetch.
        clock: Seconds.
    """

    def __init__(self, retry: RetryHandler, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry = retry
        self._clock = clock
        self._tenants: OrderedDict[TenantId, _Struggle] = OrderedDict()
        self._failed: set[TenantId] = set()  # since the last answer; that it has several is all that matters
        self._last_answer = -math.inf
        self.everywhere = False

    def __contains__(self, tenant_id: TenantId) -> bool:
        """Whether this tenant's record struggles."""
        return tenant_id in self._tenants

    def pause(self, tenant_id: TenantId) -> str | None:
        """Why no fetch may begin now; `None` if one may."""
        struggle = self._tenants.get(tenant_id)
        return struggle.reason if struggle and self._clock() < struggle.pause_ends else None

    def slow(self, tenant_id: TenantId, since: float) -> None:
        """A fetch that began then has no answer yet, and nobody waits for it any longer."""
        self._note(tenant_id, since)

    def failed(self, tenant_id: TenantId, since: float, reason: str) -> None:
        """A fetch that began then failed: the next one begins after a pause."""
        struggle = self._note(tenant_id, since)
        struggle.failures, struggle.reason = struggle.failures + 1, reason
        pause_s = self._retry.calculate_backoff(struggle.failures, cap_s=LONGEST_PAUSE_S)
        struggle.pause_ends = self._clock() + pause_s

    def answered(self, tenant_id: TenantId) -> None:
        """A fetch was answered. If the service itself was struggling, nobody's pause holds any longer."""
        self._tenants.pop(tenant_id, None)
        self._failed.clear()
        self._last_answer = self._clock()
        if self.everywhere:
            self.everywhere = False
            for struggle in self._tenants.values():
                struggle.pause_ends = -math.inf

    def _note(self, tenant_id: TenantId, since: float) -> _Struggle:
        if since > self._last_answer and len(self._failed) < SEVERAL:
            self._failed.add(tenant_id)
            self.everywhere = len(self._failed) == SEVERAL
        struggle = self._tenants.setdefault(tenant_id, _Struggle())
        self._tenants.move_to_end(tenant_id)
        if len(self._tenants) > REMEMBERED:
            self._tenants.popitem(last=False)
        return struggle
