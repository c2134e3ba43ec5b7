"""The Tenant Service client: one GET a tenant, three attempts, five seconds each."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson
import structlog

from stream.contract.identifiers import TenantId
from stream.contract.moments import read_moment
from stream.retry import RetryHandler
from stream.tenants.credentials import (
    CredentialError,
    Credentials,
    CredentialsInvalid,
    CredentialsSuspended,
    TenantNotFound,
    TenantServiceUnavailable,
)

ATTEMPTS: Final = 3
BACKOFF_ALLOWANCE_S: Final = 6.0  # the waits between attempts: 1 + 2 s, each with up to 1 s of jitter, and a margin
# Not in the contract: 401 is about this worker's own token and 429 about its request rate. The message is not at fault:
# it waits.
TRANSIENT_STATUSES: Final = frozenset({401, 408, 429, *range(500, 600)})
BLOCKED_STATES: Final = frozenset({"suspended", "expired"})
# Deployments differ in the names; the order is that of the contract.
TOKEN_FIELDS: Final = ("systemUserAccessToken", "accessToken", "meta_access_token", "token")
PHONE_FIELDS: Final = ("phoneNumberId", "whatsapp_phone_number_id")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")  # it goes into an HTTP header: no space, no control character

log = structlog.get_logger(__name__)


class TenantServiceClient:
    """Fetches a tenant's credentials.

    Args:
        http: The HTTP client, without a base URL.
        base_url: `TENANT_SERVICE_URL`.
        path: `TENANT_CREDENTIALS_PATH`, with `{tenant_id}` in it.
        service_token: `TENANT_SERVICE_TOKEN`, sent as a bearer token if given.
        timeout_s: Bound on one attempt, in seconds.
        ttl_ms: How long the answer may be used, in milliseconds; an `expiresAt` in the answer shortens it.
        retry: The backoff policy.
        clock: Seconds since the epoch.

    Attributes:
        longest_fetch_s: How long a fetch may take with all its attempts, in seconds.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        base_url: str,
        path: str,
        service_token: str | None,
        timeout_s: float,
        ttl_ms: int,
        retry: RetryHandler,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._template = base_url.rstrip("/") + path
        self._headers = {"Accept-Encoding": "identity"}
        if service_token:
            self._headers["Authorization"] = f"Bearer {service_token}"
        self._timeout_s = timeout_s
        self.longest_fetch_s = ATTEMPTS * timeout_s + BACKOFF_ALLOWANCE_S
        self._ttl_ms = ttl_ms
        self._retry = retry
        self._clock = clock

    async def fetch(self, tenant_id: TenantId, attempts: int = ATTEMPTS) -> Credentials:
        """Ask the Tenant Service, this many times at most.

        Raises:
            TenantNotFound: HTTP 404.
            CredentialsSuspended: HTTP 403, a status of suspended or expired, or an `expiresAt` that has passed.
            CredentialsInvalid: Any other refusal, or an answer without a usable token.
            TenantServiceUnavailable: Timeout, connection error, HTTP 401, 408, 429 or 5xx, on every attempt.
        """

        async def on_retry(error: BaseException, attempt: int) -> None:
            log.warning("tenant_service_retry", tenantId=tenant_id, attempt=attempt, error=str(error))

        return await self._retry.execute_with_retry(
            lambda: self._fetch_once(tenant_id),
            max_retries=attempts - 1,
            base_delay_s=1.0,
            classifier=lambda error: isinstance(error, TenantServiceUnavailable),
            on_retry=on_retry,
        )

    async def _fetch_once(self, tenant_id: TenantId) -> Credentials:
        if tenant_id in {".", ".."}:
            raise TenantNotFound("no URL path can name a tenant . or ..: in every spelling it means another folder")
        url = self._template.replace("{tenant_id}", quote(tenant_id, safe=""))
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.get(url, headers=self._headers)
        except TimeoutError:
            raise TenantServiceUnavailable(f"no answer within {self._timeout_s:g} s") from None
        except httpx.RequestError as error:
            raise TenantServiceUnavailable(f"{type(error).__name__}: {error}") from None
        if refusal := _refusal(response.status_code):
            raise refusal
        return self._read(tenant_id, response.content)

    def _read(self, tenant_id: TenantId, body: bytes) -> Credentials:
        now = self._clock()
        answer = _object(body)
        nested = answer.get("credentials")
        levels = (answer, nested) if isinstance(nested, dict) else (answer,)
        ends_at = _allowed_until(levels, now)
        fields: dict[str, Any] = {name: value for level in levels for name, value in level.items()}
        return Credentials(
            tenant_id=tenant_id,
            access_token=_token(fields),
            phone_number_id=_phone_number_id(fields),
            messages_per_second=_messages_per_second(fields),
            cached_at=now,
            ttl_ms=int(min(self._ttl_ms, (ends_at - now) * 1000)),
        )


def _refusal(status: int) -> CredentialError | None:
    """What a status means, before the body is read."""
    if status == httpx.codes.OK:
        return None
    if status == httpx.codes.NOT_FOUND:
        return TenantNotFound("the Tenant Service does not know this tenant (HTTP 404)")
    if status == httpx.codes.FORBIDDEN:
        return CredentialsSuspended("the Tenant Service refuses this tenant's credentials (HTTP 403)")
    if status in TRANSIENT_STATUSES:
        return TenantServiceUnavailable(f"the Tenant Service answered HTTP {status}")
    return CredentialsInvalid(f"the Tenant Service answered HTTP {status}: check TENANT_CREDENTIALS_PATH")


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise CredentialsInvalid("the Tenant Service's answer is not JSON, or is too long") from None
    if not isinstance(answer, dict):
        raise CredentialsInvalid("the Tenant Service's answer is not a JSON object")
    return answer


def _token(fields: dict[str, Any]) -> str:
    token = next((fields[name] for name in TOKEN_FIELDS if fields.get(name)), None)
    if token is None:
        raise CredentialsInvalid(f"the Tenant Service's answer has no access token: expected {', '.join(TOKEN_FIELDS)}")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise CredentialsInvalid("the access token has characters that no HTTP header can carry")
    return token


def _phone_number_id(fields: dict[str, Any]) -> str | None:
    value = next((fields[name] for name in PHONE_FIELDS if fields.get(name)), None)
    return None if value is None else str(value)


def _messages_per_second(fields: dict[str, Any]) -> float | None:
    limits = fields.get("rateLimits")
    value = limits.get("messagesPerSecond") if isinstance(limits, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _allowed_until(levels: tuple[dict[str, Any], ...], now: float) -> float:
    """When the credentials end, in seconds since the epoch; deployments say it, and the status, inside or outside.

    Raises:
        CredentialsSuspended: They may not be used now.
    """
    for level in levels:
        state = level.get("status")
        if isinstance(state, str) and state.strip().lower() in BLOCKED_STATES:
            raise CredentialsSuspended(f"the Tenant Service says status {state.strip().lower()}")
    ends_at = min(_moment(level.get("expiresAt")) for level in levels)
    if ends_at <= now:
        raise CredentialsSuspended(f"the credentials expired {now - ends_at:.0f} s ago")
    return ends_at


def _moment(value: object) -> float:
    """Seconds since the epoch; without end for what is no moment, 0 included."""
    try:
        return read_moment(value).timestamp()
    except ValueError:
        return math.inf
