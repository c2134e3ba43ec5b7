"""The error table: every way a delivery can fail, from the rows that the worker itself decides by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stream.meta.errors import ROWS, ErrorRule
from stream.specification.retries import DEAD_LETTER, RETRY_AT_ONCE, WAIT_AND_RETRY, decision_of, notes_of
from stream.specification.words import REPLAYS, SCOPES

DECISIONS: Final = {DEAD_LETTER: "bad", WAIT_AND_RETRY: "wait", RETRY_AT_ONCE: "wait"}
"""What the worker does about an error → the class of its colour."""


@dataclass(frozen=True)
class ErrorRow:
    """A row as the page shows it."""

    name: str
    codes: str
    decision: str
    colour: str
    retries: list[str]
    scope: str
    concerns: str
    reported: list[str]
    replay: str
    replay_advice: str
    meaning: str
    advice: str
    found_by: str


def errors() -> list[ErrorRow]:
    """All rows."""
    return [_row(row) for row in ROWS]


def _row(row: ErrorRule) -> ErrorRow:
    decision = decision_of(row)
    return ErrorRow(
        name=row.name,
        codes=_numbers(row) if row.codes else "",
        decision=decision,
        colour=DECISIONS[decision],
        retries=notes_of(row),
        scope=row.scope.replace("_", " "),
        concerns=SCOPES[row.scope],
        reported=_reported(row),
        replay=row.replay,
        replay_advice=REPLAYS[row.replay],
        meaning=row.meaning,
        advice=row.advice,
        found_by=" ".join(map(str, (*row.codes, *row.subcodes))),
    )


def _reported(row: ErrorRule) -> list[str]:
    reports = {"alerts an operator": row.alert, "notifies the tenant": row.notify}
    return [words for words, is_made in reports.items() if is_made]


def _numbers(row: ErrorRule) -> str:
    return "; ".join([spans(row.codes), *([f"as subcode {spans(row.subcodes)}"] if row.subcodes else [])])


def spans(codes: Iterable[int]) -> str:
    """Codes as people write them: `131000, 131016, 200 to 299`."""
    runs: list[list[int]] = []
    for number in sorted(codes):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(_run(run) for run in runs)


def _run(run: list[int]) -> str:
    longest_listed = 2
    return f"{run[0]} to {run[-1]}" if len(run) > longest_listed else ", ".join(map(str, run))
