"""Until when a message may be sent. A late one-time password is worse than none."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from aio_pika.abc import AbstractIncomingMessage

from stream.contract.headers import ORIGINAL_EXPIRATION

# As RabbitMQ reads the property: a sign and any number of zeros are allowed. It takes ten years at most; a header may
# say anything, and what has more digits than this ends after `MESSAGE_MAX_AGE_MS` anyway.
_EXPIRATION: Final = re.compile(r"[+-]?0+|\+?0*([1-9][0-9]{0,9})")
NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Validity:
    """When a message ends, and what says so.

    Attributes:
        too_old: `MESSAGE_MAX_AGE_MS` after its first sight, whatever its publisher says.
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


def on_arrival(incoming: AbstractIncomingMessage, first_seen: datetime, max_age: timedelta) -> Validity:
    """What a message's properties and its age say; the same on every arrival, however often it has waited.

    `expiration` counts from the property `timestamp`, or from the first sight where there is none or it is later.
    """
    too_old = first_seen + max_age
    milliseconds = _expiration_ms(incoming)
    if milliseconds is None:
        return Validity(too_old)
    published = min(incoming.timestamp or first_seen, first_seen)
    return Validity(too_old, published + timedelta(milliseconds=milliseconds), "expiration")


def _expiration_ms(incoming: AbstractIncomingMessage) -> float | None:
    """The property; a copy that has waited has it as a header, or the wait would have ended early."""
    if incoming.expiration is not None:
        return float(str(incoming.expiration)) * 1000  # aio-pika's is in seconds
    header = incoming.headers.get(ORIGINAL_EXPIRATION)
    found = _EXPIRATION.fullmatch(header) if isinstance(header, str) else None
    return int(found[1] or 0) if found else None
