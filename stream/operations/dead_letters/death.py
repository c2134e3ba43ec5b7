"""What RabbitMQ's own record, `x-death`, says of a letter that no worker wrote. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

EXPIRED: Final = "MESSAGE_EXPIRED"
POISON: Final = "POISON"
INVALID: Final = "INVALID_MESSAGE"

_TYPES: Final = {"expired": EXPIRED, "delivery_limit": POISON}
_WORDS: Final = {
    "expired": "it lay on the queue until its time was up, and no worker took it",
    "delivery_limit": "RabbitMQ delivered it again and again, and no worker settled it",
    "rejected": "the worker could make no copy of it, or failed unexpectedly, perhaps after Meta had taken it",
}
_UNKNOWN: Final = "neither a worker nor RabbitMQ says why it is here"


@dataclass(frozen=True, slots=True)
class Death:
    """Why RabbitMQ moved a message to the dead letters.

    Attributes:
        reason: Its word; `""` if it did not.
        at: When.
        expiration: The message's own time to live in milliseconds. RabbitMQ takes the property off every message that
            it moves, whatever the reason; `None` if there was none.
        routing_key: What it was published with to the queue that it was moved from; `None` if the record has none.
    """

    reason: str = ""
    at: datetime | None = None
    expiration: str | None = None
    routing_key: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, Any]) -> Death:
        """Read the latest entry of `x-death`."""
        record = headers.get("x-death")
        latest = record[0] if isinstance(record, list) and record else None
        if not isinstance(latest, dict):
            return cls()
        reason, at, expiration = latest.get("reason"), latest.get("time"), latest.get("original-expiration")
        keys = latest.get("routing-keys")
        return cls(
            reason=reason if isinstance(reason, str) else "",
            at=_aware(at) if isinstance(at, datetime) else None,
            expiration=expiration if isinstance(expiration, str) else None,
            routing_key=keys[0] if isinstance(keys, list) and keys and isinstance(keys[0], str) else None,
        )

    @property
    def ended_its_validity(self) -> bool:
        """Whether the message's own time to live was up."""
        return self.reason == "expired" and self.expiration is not None

    @property
    def in_doubt(self) -> bool:
        """Whether Meta may have the message: a worker rejects one also after an error that it did not expect."""
        return self.reason == "rejected"

    @property
    def error_type(self) -> str:
        """The row of the error table that fits best."""
        return _TYPES.get(self.reason, INVALID)

    @property
    def words(self) -> str:
        """The reason, for people."""
        return _WORDS.get(self.reason, _UNKNOWN)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def ends_by_expiration(milliseconds: object, sent: datetime | None, first_seen: datetime) -> datetime | None:
    """When a message's own time to live ends: it counts from its publishing, or from an earlier first sight.

    Args:
        milliseconds: The header `x-original-expiration`, or what stands there.
        sent: The property `timestamp`.
        first_seen: When a worker first saw it.
    """
    if not isinstance(milliseconds, str) or not milliseconds.lstrip("+").isdecimal():
        return None
    try:
        return min(sent or first_seen, first_seen) + timedelta(milliseconds=int(milliseconds))
    except (OverflowError, ValueError):  # beyond the year 9999, or no number: "++5", or more than 4,300 digits
        return None
