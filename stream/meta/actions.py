"""What the worker does about an error, in words that name the settings: for `docs/errors.md` and `stream explain`."""

from __future__ import annotations

from typing import Final

from stream.meta.errors import Budget, ErrorRule

_WHILE_VALID: Final = "while the message is valid (at most RATE_LIMIT_MAX_RETRIES times, if set)"
_LIMITS: Final = {
    Budget.FAILURE: "at most META_API_MAX_RETRIES times",
    Budget.THROTTLE: _WHILE_VALID,
    Budget.TENANT_SERVICE: _WHILE_VALID,
}


def action_of(row: ErrorRule) -> str:
    """What the worker does about the errors of a row."""
    if row.retry is None:
        return "dead-letters at once"
    if row.invalidate_credentials:
        return "fetches the credentials again and sends once more, at once, then dead-letters"
    own = {None: _LIMITS[row.retry.budget], 1: "once"}
    times = own.get(row.retry.limit, f"at most {row.retry.limit} times")
    base = "META_API_RETRY_DELAY_MS" if row.retry.base_s is None else f"{row.retry.base_s:g} s"
    return f"retries {times}, first after {base}, then dead-letters"
