"""The retry rules in words and numbers, computed from the error table and the default settings.

The document and its site have them from here; `stream.meta.actions` says the same by the names of the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stream.meta.errors import ROWS, Budget, ErrorRule, RetryRule
from stream.retry import RetryHandler
from stream.settings import Settings

DEAD_LETTER: Final = "dead-letter"
WAIT_AND_RETRY: Final = "wait and retry"
RETRY_AT_ONCE: Final = "retry once, at once"

UNTIL_STEADY: Final = 10  # by then every delay has reached its cap


@dataclass(frozen=True, slots=True)
class _Limit:
    """What bounds the retries of a budget: its setting, and what a table says of it."""

    setting: str
    words: str


_LIMITS: Final = {
    Budget.FAILURE: _Limit("meta_api_max_retries", "META_API_MAX_RETRIES"),
    Budget.THROTTLE: _Limit("rate_limit_max_retries", "the message's validity (RATE_LIMIT_MAX_RETRIES if set)"),
    Budget.TENANT_SERVICE: _Limit("rate_limit_max_retries", "the same, counted apart"),
}


def decision_of(row: ErrorRule) -> str:
    """What the worker does about an error, in a few words."""
    if row.retry is None:
        return DEAD_LETTER
    return RETRY_AT_ONCE if row.invalidate_credentials else WAIT_AND_RETRY


def notes_of(row: ErrorRule) -> list[str]:
    """What is to be said beside the decision: how often, after which delays, up to which limit."""
    if row.retry is None:
        return []
    if row.invalidate_credentials:
        return ["with fresh credentials"]
    count = retries_of(row)
    times = "retries" if count is None else f"{count} {'retry' if count == 1 else 'retries'}"
    return [f"{times}: {delays_of(row)}", f"limit: {limit_of(row)}"]


def retries_of(row: ErrorRule) -> int | None:
    """How often it is tried again by default; `None`: as often as its validity allows."""
    if row.retry is None:
        return 0
    limits = (row.retry.limit, Settings.model_fields[_LIMITS[row.retry.budget].setting].default)
    return min((limit for limit in limits if limit is not None), default=None)


def limit_of(row: ErrorRule) -> str:
    """What bounds the retries."""
    if row.retry is None:
        return ""
    return "the error type itself" if row.retry.limit is not None else _LIMITS[row.retry.budget].words


def delays_of(row: ErrorRule) -> str:
    """The delays before the retries by default, without jitter, e.g. `1, 2, 4 s`; they never shrink."""
    if row.retry is None:
        return ""
    if row.invalidate_credentials:
        return "none: at once, with fresh credentials"
    retries = retries_of(row)
    delays = [_delay_s(row.retry, attempt) for attempt in range(1, (UNTIL_STEADY if retries is None else retries) + 1)]
    growing = [f"{delay:g}" for delay in dict.fromkeys(delays)]
    if len(growing) == len(delays):
        return ", ".join(growing) + " s"
    return f"{', '.join(growing[:-1])} s, then {growing[-1]} s each" if growing[:-1] else f"{growing[-1]} s each"


def retry_table() -> str:
    """The rows that are retried, as a Markdown table."""
    head = "| error type | retries | delays | limited by |\n| --- | --- | --- | --- |\n"
    lines = [
        f"| `{row.name}` | {_number(retries_of(row))} | {delays_of(row)} | {limit_of(row)} |"
        for row in ROWS
        if row.retryable
    ]
    return head + "\n".join(lines)


def _number(retries: int | None) -> str:
    return "no limit" if retries is None else str(retries)


def _delay_s(rule: RetryRule, attempt: int) -> float:
    handler = RetryHandler(jitter_s=0.0)
    return handler.calculate_backoff(attempt, base_delay_s=rule.base_s, growth=rule.growth, cap_s=rule.cap_s)
