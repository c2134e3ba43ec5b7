"""The retry rules in words and numbers, computed from the error table and the default settings."""

from __future__ import annotations

from typing import Final

from stream.meta.errors import ROWS, Budget, ErrorRule, RetryRule
from stream.retry import RetryHandler
from stream.settings import Settings

UNTIL_STEADY: Final = 10  # by then every delay has reached its cap
_BUDGETS: Final = {
    Budget.FAILURE: ("META_API_MAX_RETRIES", "meta_api_max_retries"),
    Budget.THROTTLE: ("the message's validity (RATE_LIMIT_MAX_RETRIES if set)", "rate_limit_max_retries"),
    Budget.TENANT_SERVICE: ("the same, counted apart", "rate_limit_max_retries"),
}


def decision_of(row: ErrorRule) -> str:
    """What the worker does about an error, in a few words."""
    if row.retry is None:
        return "dead-letter"
    return "retry once, at once" if row.invalidate_credentials else "wait and retry"


def retries_of(row: ErrorRule) -> int | None:
    """How often it is tried again by default; `None`: as often as its validity allows."""
    if row.retry is None:
        return 0
    limits = (row.retry.limit, Settings.model_fields[_BUDGETS[row.retry.budget][1]].default)
    return min((limit for limit in limits if limit is not None), default=None)


def limit_of(row: ErrorRule) -> str:
    """What bounds the retries."""
    if row.retry is None:
        return ""
    return "the error type itself" if row.retry.limit is not None else _BUDGETS[row.retry.budget][0]


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
