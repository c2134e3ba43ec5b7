"""How fast a job goes, and when it stops by itself. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

STEPS: Final = (1, 5, 20, 100)  # a cause that is not cured costs at most the first three
SLICE_S: Final = 5.0  # after the ramp, the outcomes are looked at so often
RECENT: Final = 500  # letters with an outcome that are judged together with the newest step, after the ramp


@dataclass(frozen=True, slots=True)
class Step:
    """Letters that are replayed one after the other.

    Attributes:
        size: How many.
        in_ramp: It is judged alone; what comes after the ramp, together with the last ones before it.
        waits: Whether the outcomes are waited for before the next step.
    """

    size: int
    in_ramp: bool
    waits: bool


def steps(total: int, rate: float) -> Iterator[Step]:
    """The steps of a job, or of the rest of one that was interrupted: the ramp starts anew, as the cure may not last.

    Args:
        total: Its letters.
        rate: Letters a second, after the ramp.
    """
    left = total
    for size in STEPS:
        if left <= 0:
            return
        yield Step(min(size, left), in_ramp=True, waits=True)
        left -= size
    size = max(1, round(rate * SLICE_S))
    while left > 0:
        yield Step(min(size, left), in_ramp=False, waits=left <= size)
        left -= size


def judged_with(before: Sequence[str], waiting: Container[str], step: Sequence[str]) -> list[str]:
    """The letters by which a step after the ramp is judged: a cause that comes back is not hidden by what went well.

    Args:
        before: Those by which the step before was judged.
        waiting: Letters without an outcome: they stay until they have one.
        step: The step's own.
    """
    settled = [name for name in before if name not in waiting][-max(RECENT, len(step)) :]
    return [*settled, *(name for name in before if name in waiting), *step]


@dataclass(frozen=True, slots=True)
class Tally:
    """Outcomes of letters that were replayed.

    Attributes:
        delivered: Meta accepted them.
        failed: They came back as new letters.
        waiting: Neither yet.
    """

    delivered: int
    failed: int
    waiting: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.delivered + self.failed + self.waiting


def must_stop(tally: Tally, stop_at: float, *, patient: bool) -> bool:
    """Whether a step has gone so badly that the job stops.

    Args:
        tally: The step's outcomes.
        stop_at: The share of failures that is still good, 0 to 1.
        patient: Those that wait may still be delivered; afterwards they count as failures.
    """
    failures = tally.failed + (0 if patient else tally.waiting)
    return failures > stop_at * tally.total
