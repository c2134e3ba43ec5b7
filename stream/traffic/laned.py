"""Which tenants' messages go to the lanes, as one replica sees it. Values in, values out: the time is passed in.

A tenant is laned when its messages wait for slots while it holds some, and moving them is worth a publish: they wait
for too long, or the whole intake moves on more slowly than it could be sorted. It is let back when its lane has been
quick for a while, or when nothing of it was in the lanes for a while. Each replica decides by what it sees itself: that
costs no call to Redis, and a wrong guess costs one move, or a wait of `PATIENCE_S`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PATIENCE_S: Final = 0.25  # above what a first fetch of credentials takes
SORTED_PER_S: Final = 200  # messages that a replica can move a second, at least
CALM_S: Final = 1.0  # a lane that has just begun to fill is quick for its first messages
QUIET_S: Final = 5.0  # without a message in the lanes


def sorting_pays(started: int, seconds: float, waited_s: float) -> bool:
    """Whether a message that waits should be moved, and its tenant laned.

    Args:
        started: Tries of messages of the intake that began in the last `seconds`, in which others waited all the time.
        seconds: How long that was.
        waited_s: For how long this message has waited.
    """
    return waited_s >= PATIENCE_S or started < SORTED_PER_S * seconds


@dataclass(slots=True)
class _Since:
    """Moments of a laned tenant, in seconds: when a message of it was last in the lanes, and when one last waited."""

    seen: float
    slow: float


class Laned:
    """The laned tenants."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Since] = {}
        self._here: dict[str, int] = {}  # a tenant → its messages that came from a lane and have not ended

    def count(self, now: float) -> int:
        """How many tenants are laned."""
        return sum(self.has(tenant, now) for tenant in tuple(self._tenants))

    def has(self, tenant: str, now: float) -> bool:
        """Whether the tenant's messages go to its lane."""
        since = self._tenants.get(tenant)
        if since is None:
            return False
        if now - since.seen > QUIET_S and tenant not in self._here:
            del self._tenants[tenant]
            return False
        return True

    def add(self, tenant: str, now: float) -> bool:
        """Lane a tenant, of which a message has waited.

        Returns:
            Whether it is laned only since now.
        """
        is_new = tenant not in self._tenants
        self._tenants[tenant] = _Since(seen=now, slow=now)
        return is_new

    def seen(self, tenant: str, now: float) -> None:
        """Note that a message of the tenant goes to its lane, or has ended there."""
        if since := self._tenants.get(tenant):
            since.seen = now

    def came(self, tenant: str, waited_s: float, now: float) -> None:
        """Note that a message of the tenant, which has spent `waited_s` seconds in its lane, got its slot."""
        self._here[tenant] = self._here.get(tenant, 0) + 1
        if waited_s > PATIENCE_S:
            self.add(tenant, now)
        elif (since := self._tenants.get(tenant)) and now - since.slow > CALM_S:
            del self._tenants[tenant]

    def left(self, tenant: str, now: float) -> None:
        """Note that such a message has ended."""
        self._here[tenant] -= 1
        if not self._here[tenant]:
            del self._here[tenant]
        self.seen(tenant, now)
