"""Slots for tries, and how many of them one tenant may hold. Values in, values out: no I/O, no clock.

A replica has two sets of slots, each of `RABBITMQ_PREFETCH`:

    regular  for messages of the intake. A tenant takes one only while it holds less than its share of those that are
             still free, so some stay free for a tenant that comes later. A message of a lane may take one if all that
             its tenant holds is within that share.
    spare    for the lanes. Half of them may also go to messages of the intake beyond their tenant's share.

The share is a dynamic threshold: with alpha = share / (1 - share), a tenant takes a regular slot while it holds less
than alpha · (free regular slots). With a share of a half, one tenant alone gets half of the slots, and n busy tenants
get 1/(n+1) each.
Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.
"""

from __future__ import annotations

from enum import Enum


class Slot(Enum):
    """A place for one try."""

    REGULAR = "regular"
    OVERFLOW = "overflow"
    """A spare one, taken by a message of the intake beyond its tenant's share."""
    LANE = "lane"
    """A spare one, taken by a message of a lane."""


class Shares:
    """Who holds which slots.

    Args:
        slots: How many regular ones there are, and how many spare ones.
        share: Of the regular slots, which one tenant alone may hold: above 0, at most 1, which is all of them.
    """

    def __init__(self, slots: int, share: float) -> None:
        self._share = share
        self._regular = slots
        self._spare = slots
        self._overflow = slots // 2
        self._held_regular: dict[str, int] = {}
        self._held_overflow: dict[str, int] = {}
        self._held_lane: dict[str, int] = {}

    def holds(self, tenant: str) -> bool:
        """Whether messages of the tenant from the intake hold any slot."""
        return tenant in self._held_regular or tenant in self._held_overflow

    def take(self, tenant: str) -> Slot | None:
        """Take a slot for a message of the intake, a regular one if the tenant's share allows it."""
        if self.take_regular(tenant):
            return Slot.REGULAR
        return Slot.OVERFLOW if self.take_overflow(tenant) else None

    def take_regular(self, tenant: str) -> bool:
        """Take a regular slot, if one is within the tenant's share."""
        held = self._held_regular.get(tenant, 0)
        if held * (1 - self._share) >= self._regular * self._share:
            return False
        self._regular -= 1
        self._held_regular[tenant] = held + 1
        return True

    def take_regular_from_lane(self, tenant: str) -> bool:
        """Take a regular slot for a message of a lane, if all slots that its tenant holds are within its share.

        So a tenant whose lane has to wait for another's is not worse off than one of the intake.
        """
        held = sum(each.get(tenant, 0) for each in (self._held_regular, self._held_overflow, self._held_lane))
        if held * (1 - self._share) >= self._regular * self._share:
            return False
        self._regular -= 1
        self._held_regular[tenant] = self._held_regular.get(tenant, 0) + 1
        return True

    def take_overflow(self, tenant: str) -> bool:
        """Take a spare slot for a message of the intake. A tenant that holds no slot may take any of them."""
        if not self._spare or (self._overflow <= 0 and self.holds(tenant)):
            return False
        self._spare -= 1
        self._overflow -= 1
        self._held_overflow[tenant] = self._held_overflow.get(tenant, 0) + 1
        return True

    def take_lane(self, tenant: str) -> bool:
        """Take a spare slot for a message of a lane."""
        if not self._spare:
            return False
        self._spare -= 1
        self._held_lane[tenant] = self._held_lane.get(tenant, 0) + 1
        return True

    def give_back(self, slot: Slot, tenant: str) -> None:
        """Give back a slot that the tenant has taken."""
        match slot:
            case Slot.REGULAR:
                self._regular += 1
                _release(self._held_regular, tenant)
            case Slot.OVERFLOW:
                self._spare += 1
                self._overflow += 1
                _release(self._held_overflow, tenant)
            case Slot.LANE:
                self._spare += 1
                _release(self._held_lane, tenant)


def _release(held: dict[str, int], tenant: str) -> None:
    held[tenant] -= 1
    if not held[tenant]:
        del held[tenant]
