"""Until when a message may be sent. A late one-time password is worse than none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Validity:
    """When a message ends, and what says so.

    Attributes:
        too_old: `MESSAGE_MAX_AGE_MS` after a worker first saw it; its publisher cannot extend it.
        stated: What its publisher says.
        said_in: Where: `metadata.validUntil`, else the property `expiration`.
    """

    too_old: datetime
    stated: datetime = NEVER
    said_in: str = ""

    @property
    def ends(self) -> datetime:
        """The message is not sent at this moment or after it."""
        return min(self.stated, self.too_old)

    def until(self, moment: datetime | None) -> Validity:
        """The validity once its body is read: `metadata.validUntil` wins over `expiration`."""
        return self if moment is None else replace(self, stated=moment, said_in="metadata.validUntil")

    def __str__(self) -> str:
        """For a dead letter."""
        said_in = self.said_in if self.stated <= self.too_old else "MESSAGE_MAX_AGE_MS after its first sight"
        return f"valid until {self.ends.isoformat()} ({said_in})"


ALWAYS: Final = Validity(NEVER)
