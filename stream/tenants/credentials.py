"""A tenant's Meta credentials, and the errors when they cannot be obtained.

CredentialError
├── TenantNotFound          the Tenant Service says 404: final
├── CredentialsSuspended    403, status suspended or expired, or an `expiresAt` that has passed: final
├── CredentialsInvalid      an answer without a usable token, or any other refusal: final
├── NumberNotOwned          they name another phone number than the message, and the rule is strict: final
└── TenantServiceUnavailable   no answer, 401, 408, 429, 5xx: the message waits and is retried
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.contract.identifiers import TenantId


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is needed to send for a tenant. The token is in no `repr`.

    Attributes:
        tenant_id: Whose they are.
        access_token: Meta system-user token.
        phone_number_id: The tenant's default number at Meta, if the Tenant Service names one.
        messages_per_second: The tenant's own rate limit, if it has one.
        cached_at: When they were fetched, in seconds since the epoch.
        ttl_ms: How long they may be used from then, in milliseconds.
    """

    tenant_id: TenantId
    access_token: str = field(repr=False)
    phone_number_id: str | None = None
    messages_per_second: float | None = None
    cached_at: float = 0.0
    ttl_ms: int = 0


class CredentialError(Exception):
    """The tenant's credentials could not be obtained, or are not for this message."""


class TenantNotFound(CredentialError):  # noqa: N818 - named for what it says to an operator
    """The Tenant Service does not know the tenant."""


class CredentialsSuspended(CredentialError):  # noqa: N818
    """The Tenant Service refuses the tenant's credentials for now."""


class CredentialsInvalid(CredentialError):  # noqa: N818
    """The answer cannot be used: no token, not JSON, or the request itself was refused."""


class NumberNotOwned(CredentialError):  # noqa: N818
    """The credentials are for another phone number than the message's."""


class TenantServiceUnavailable(CredentialError):  # noqa: N818
    """The Tenant Service did not answer, or failed."""
