"""From Meta's answer, or its absence, to a row of the error table.

Precedence: subcode (with any code), code, HTTP status, exception. A subcode says more than its code, which is often
just 100. The status is unreliable: throttles and token errors also arrive as HTTP 400 or 403, and some HTTP 500s are
permanent. The text of `message` and `details` is never matched: titles change and details are translated.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson

from stream.meta.errors import BY_CODE, BY_STATUS, BY_SUBCODE, ERROR_TABLE, ErrorRule
from stream.meta.failure import DETAIL_LENGTH, Certainty, Failure
from stream.meta.usage import USAGE, regain_access_s

NEVER_LEFT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


class MetaErrorClassifier:
    """Classifies answers and exceptions of a send. Pure: no clock but the one it is given, no I/O.

    The predicates are asked for by name in the contract of this module; the worker itself reads the row.
    """

    def classify(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, *, now: datetime | None = None
    ) -> Failure:
        """Classify an answer that is not a delivery.

        Args:
            status: HTTP status.
            body: The body as it arrived; need not be JSON.
            headers: For `Retry-After`, and what Meta says about the use of its API.
            now: To turn a `Retry-After` date into seconds.
        """
        error = _error_of(body)
        code, subcode = _integer(error.get("code")), _integer(error.get("error_subcode"))
        return Failure(
            rule=_rule(status, code, subcode, transient=error.get("is_transient") is True),
            detail=_detail(status, body, error),
            certainty=Certainty.REJECTED,
            http_status=status,
            code=code,
            subcode=subcode,
            fbtrace_id=_text(error.get("fbtrace_id")),
            retry_after_s=_retry_after((headers or {}).get("retry-after"), now or datetime.now(UTC)),
            regain_access_s=regain_access_s((headers or {}).get(USAGE)),
        )

    def classify_exception(self, error: Exception) -> Failure:
        """Classify a send that got no answer: `not_sent` if it certainly never left, otherwise `unknown`."""
        sent = not isinstance(error, NEVER_LEFT)
        what = "no answer came" if sent else "no connection was made"
        detail = f"{what}: {type(error).__name__}: {error}"
        return Failure.of("NETWORK_ERROR", detail, Certainty.UNKNOWN if sent else Certainty.NOT_SENT)

    def is_retryable(self, failure: Failure) -> bool:
        """Whether the worker tries again by itself."""
        return failure.rule.retryable

    def is_auth_error(self, failure: Failure) -> bool:
        """Whether the cached credentials are the cause and must be fetched again."""
        return failure.rule.invalidate_credentials

    def is_rate_limit_error(self, failure: Failure) -> bool:
        """Whether a sender is too fast: the message itself is fine."""
        return failure.rule.name in {"RATE_LIMIT", "PAIR_RATE_LIMIT"}

    def is_client_error(self, failure: Failure) -> bool:
        """Whether the same request would be refused again: the publisher or an operator must change something."""
        return not failure.rule.retryable

    def should_notify(self, failure: Failure) -> bool:
        """Whether a person should be notified: the row says alert or notify."""
        return failure.rule.reported


def has_error(body: bytes) -> bool:
    """Whether a body holds Meta's error object, with any status."""
    return bool(_error_of(body))


def _error_of(body: bytes) -> dict[str, Any]:
    """Read the `error` object of Meta's envelope; empty when there is none."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error = content.get("error") if isinstance(content, dict) else None
    return error if isinstance(error, dict) else {}


def _rule(status: int, code: int | None, subcode: int | None, *, transient: bool) -> ErrorRule:
    if subcode is not None and (rule := BY_SUBCODE.get(subcode)):
        return rule
    if code is not None and (rule := BY_CODE.get(code)):
        return rule
    # Neither, or none that the table knows: then the status decides, and Meta's own hint.
    if rule := BY_STATUS.get(status):
        return rule
    return ERROR_TABLE["META_SERVER_ERROR" if transient else "META_REJECTED"]


def _detail(status: int, body: bytes, error: dict[str, Any]) -> str:
    if not error:
        return f"HTTP {status} without an error object: {body[:200].decode(errors='replace')}"
    data = error.get("error_data")  # documented as an object, but Meta sometimes sends a string
    details = data.get("details") if isinstance(data, dict) else data
    parts = [part for part in (_text(error.get("message")), _text(details)) if part]
    return (": ".join(parts) or f"HTTP {status}")[:DETAIL_LENGTH]


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from a `Retry-After` of either form (RFC 9110, 10.2.3); `None` when absent or unreadable."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
