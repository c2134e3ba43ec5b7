"""Which tenants' records struggle at the Tenant Service, and whether the service itself does. No I/O.

A record struggles when its fetches fail or hang; other tenants must not wait for that. The service itself struggles
when fetches of several tenants have failed, and no fetch of any tenant was answered since they began.
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

SEVERAL: Final = 3  # tenants; two broken records do not mean that the service fails
LONGEST_PAUSE_S: Final = 10.0  # how long a record may work again before the worker notices it
REMEMBERED: Final = 10_000  # tenants; a message of a forgotten tenant may wait for its fetch once more


@dataclass(slots=True)
class _Struggle:
    """One tenant's failures.

    Attributes:
        failures: Fetches that failed since the last answer.
        pause_ends: When the next fetch may begin.
        reason: Why the last one failed.
    """

    failures: int = 0
    pause_ends: float = -math.inf
    reason: str = "the Tenant Service is slow"


class Struggles:
    """Remembers failures until an answer comes. A refusal is an answer too: the service is there.

    Args:
        retry: Computes the pause before a tenant's next fetch.
        clock: Seconds.
    """

    def __init__(self, retry: RetryHandler, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry = retry
        self._clock = clock
        self._tenants: OrderedDict[TenantId, _Struggle] = OrderedDict()
        self._failed: set[TenantId] = set()  # since the last answer; not more than `SEVERAL`
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
        """A fetch that began at `since` has no answer yet, and no message waits for it any longer."""
        self._note(tenant_id, since)

    def failed(self, tenant_id: TenantId, since: float, reason: str) -> None:
        """A fetch that began at `since` failed: the next one begins after a pause."""
        struggle = self._note(tenant_id, since)
        struggle.failures, struggle.reason = struggle.failures + 1, reason
        pause_s = self._retry.calculate_backoff(struggle.failures, cap_s=LONGEST_PAUSE_S)
        struggle.pause_ends = self._clock() + pause_s

    def answered(self, tenant_id: TenantId) -> None:
        """A fetch was answered. If the service itself was struggling, all pauses end."""
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
