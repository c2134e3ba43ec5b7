"""Causes, not rows: letters with one fingerprint are one line. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from stream.meta.errors import ERROR_TABLE
from stream.operations.dead_letters.letter import Letter

NO_ADVICE: Final = "This release does not know the type: look it up in the release that wrote the letter."


@dataclass(slots=True)
class Group:
    """The letters of one cause, as far as they were seen.

    Attributes:
        example: The first of them.
        count: How many.
        tenants: Whose they are.
        classes: Replay class → letters: validity may have ended for some.
        first: When the first of them failed.
        last: When the last of them failed.
    """

    example: Letter
    count: int = 0
    tenants: set[str] = field(default_factory=set)
    classes: dict[str, int] = field(default_factory=dict)
    first: datetime | None = None
    last: datetime | None = None

    def add(self, letter: Letter) -> None:
        """Count a letter."""
        self.count += 1
        self.classes[letter.replay] = self.classes.get(letter.replay, 0) + 1
        if letter.tenant_id:
            self.tenants.add(letter.tenant_id)
        if letter.failed_at:
            self.first = min(self.first or letter.failed_at, letter.failed_at)
            self.last = max(self.last or letter.failed_at, letter.failed_at)

    @property
    def replay(self) -> str:
        """The replay class of most of them."""
        return max(self.classes, key=lambda name: self.classes[name])

    @property
    def advice(self) -> str:
        """What the error table advises."""
        row = ERROR_TABLE.get(self.example.error_type)
        return row.advice if row else NO_ADVICE

    def to_json(self) -> dict[str, Any]:
        """The object that scripts get."""
        letter = self.example
        return {
            "fingerprint": letter.fingerprint,
            "errorType": letter.error_type,
            "code": letter.code,
            "subcode": letter.subcode,
            "templateName": letter.template_name,
            "replay": self.replay,
            "replayClasses": {str(name): count for name, count in self.classes.items()},
            "count": self.count,
            "tenants": sorted(self.tenants),
            "firstFailedAt": self.first.isoformat() if self.first else None,
            "lastFailedAt": self.last.isoformat() if self.last else None,
            "detail": letter.detail,
            "advice": self.advice,
            "exampleId": letter.id,
        }


class Groups:
    """All causes, the most frequent first."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}

    def add(self, letter: Letter) -> None:
        """Count a letter with its cause."""
        group = self._groups.get(letter.fingerprint)
        if group is None:
            group = self._groups[letter.fingerprint] = Group(letter)
        group.add(letter)

    def all(self) -> list[Group]:
        """The groups."""
        return sorted(self._groups.values(), key=lambda group: (-group.count, group.example.fingerprint))
