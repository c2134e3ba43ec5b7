"""Which letters a command is about. Pure."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from stream.contract.replay import Replay
from stream.operations.dead_letters.letter import Letter

_AGE: Final = re.compile(r"(\d{1,6})(s|m|h|d)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Filter:
    """What a letter must be like; a field that is `None` lets all pass.

    Attributes:
        error_type: Its error type.
        code: Meta's code.
        tenant: Its tenant.
        fingerprint: Its cause.
        replay: Its replay class.
        older_than: At least so long since it failed.
        newer_than: At most so long since it failed.
        phone_number_id: Meta's id of the sending number.
        recipient_ending: How the recipient's number ends.
        id: The letter itself.
    """

    error_type: str | None = None
    code: int | None = None
    tenant: str | None = None
    fingerprint: str | None = None
    replay: Replay | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    phone_number_id: str | None = None
    recipient_ending: str | None = None
    id: str | None = None

    def takes(self, letter: Letter, now: datetime) -> bool:
        """Whether a letter is meant. One without a moment of failure is neither older nor newer than anything."""
        equal = (
            (self.error_type, letter.error_type),
            (self.code, letter.code),
            (self.tenant, letter.tenant_id),
            (self.fingerprint, letter.fingerprint),
            (self.replay, letter.replay),
            (self.phone_number_id, letter.phone_number_id),
            (self.id, letter.id),
        )
        ending = self.recipient_ending is None or (letter.recipient or "").endswith(self.recipient_ending)
        return all(want is None or want == has for want, has in equal) and ending and self._age_fits(letter, now)

    def _age_fits(self, letter: Letter, now: datetime) -> bool:
        if self.older_than is None and self.newer_than is None:
            return True
        if letter.failed_at is None:
            return False
        age = now - letter.failed_at
        return (self.older_than is None or age >= self.older_than) and (
            self.newer_than is None or age <= self.newer_than
        )

    def words(self) -> dict[str, Any]:
        """What it asks for, for a record."""
        return {name: str(value) for name, value in asdict(self).items() if value is not None}


def age(text: str) -> timedelta:
    """Read an age such as `90s`, `30m`, `2h` or `7d`.

    Raises:
        ValueError: It is none.
    """
    if not (found := _AGE.fullmatch(text)):
        raise ValueError("write an age as a number and a unit: 90s, 30m, 2h, 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
