"""What the page shows, as values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from stream.operations.dead_letters.groups import Groups
from stream.operations.dead_letters.job import Headline
from stream.operations.dead_letters.letter import Letter
from stream.traffic.by_hand import Place
from stream.traffic.circuit import Circuit

HOURS: Final = 24  # each has a count of its own
_HOUR: Final = timedelta(hours=1)


class Overview:
    """Letters by cause and by hour.

    Attributes:
        now: The end of the latest hour.
        count: How many were read.
        groups: Their causes.
        hours: How many failed in each of the last hours, the latest first.
        oldest: When the first of them failed; `None` if no letter says.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.count = 0
        self.groups = Groups()
        self.hours = [0] * HOURS
        self.oldest: datetime | None = None

    def add(self, letter: Letter) -> None:
        """Count a letter."""
        self.count += 1
        self.groups.add(letter)
        if letter.failed_at is None:
            return
        self.oldest = min(self.oldest or letter.failed_at, letter.failed_at)
        ago = max(0, (self.now - letter.failed_at) // _HOUR)  # another machine's clock may be ahead
        if ago < HOURS:
            self.hours[ago] += 1


@dataclass(frozen=True, slots=True)
class Letters:
    """What a look at the queue has found.

    Attributes:
        overview: What was read.
        lying: Letters that lay there; `None` if RabbitMQ did not say.
        sentence: Why not all was read; empty if all was.
    """

    overview: Overview
    lying: int | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What Redis knows.

    Attributes:
        circuits: Those that are not closed.
        jobs: The latest jobs, the newest first.
        sentence: Why it is not all; empty if it is.
    """

    circuits: Sequence[tuple[Place, Circuit]] = ()
    jobs: Sequence[Headline] = ()
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything on the page.

    Attributes:
        at: When it was taken.
        letters: What lies on the queue.
        trouble: What Redis knows.
    """

    at: datetime
    letters: Letters
    trouble: Trouble = field(default_factory=Trouble)
