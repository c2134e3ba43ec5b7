"""What an exception that ended a try means for its message. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from stream.delivery.tries import Expired, Try
from stream.meta.errors import ERROR_TABLE
from stream.meta.failure import Certainty, Failure, GraphError
from stream.tenants.credentials import (
    CredentialError,
    CredentialsInvalid,
    CredentialsSuspended,
    NumberNotOwned,
    TenantNotFound,
    TenantServiceUnavailable,
)

_CREDENTIAL_FAILURES: Final[dict[type[CredentialError], str]] = {
    TenantNotFound: "TENANT_NOT_FOUND",
    CredentialsSuspended: "CREDENTIALS_SUSPENDED",
    CredentialsInvalid: "CREDENTIALS_INVALID",
    NumberNotOwned: "PHONE_NUMBER_NOT_OWNED",
    TenantServiceUnavailable: "TENANT_SERVICE_UNAVAILABLE",
}
_FORESEEN: Final = (Expired, CredentialError, GraphError, TimeoutError)


def is_foreseen(error: Exception) -> bool:
    """Whether the error has a meaning of its own."""
    return isinstance(error, _FORESEEN)


def failure_of(error: Exception, current: Try, *, bound_s: float) -> Failure:
    """The failure that the error is.

    Args:
        error: What ended the try.
        current: The try.
        bound_s: How long it might take, in seconds.
    """
    failure = _failure_of(error, current, bound_s)
    if failure.certainty is Certainty.UNKNOWN and failure.rule.retryable and not current.send_again:
        return replace(failure, rule=ERROR_TABLE["OUTCOME_UNKNOWN"])
    return failure


def _failure_of(error: Exception, current: Try, bound_s: float) -> Failure:
    match error:
        case Expired():
            return Failure.of("MESSAGE_EXPIRED", str(current.refusal or ""))
        case CredentialError():
            return Failure.of(_CREDENTIAL_FAILURES[type(error)], str(error))
        case GraphError():
            return error.failure
        case TimeoutError():
            return Failure.of("INTERNAL_ERROR", f"not finished within {bound_s:g} s", current.certainty)
        case _:
            return Failure.of("INTERNAL_ERROR", f"{type(error).__name__}: {error}", current.certainty)
