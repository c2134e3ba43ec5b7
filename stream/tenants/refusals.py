"""What the Tenant Service has just refused, remembered for a short time in Redis, for all replicas.

A backlog of a tenant that does not exist, or whose token Meta refuses, must not become a request to the Tenant Service
for each message.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Final

from stream.contract.identifiers import TenantId, hash_tag
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.tenants.credentials import CredentialError, CredentialsInvalid, CredentialsSuspended, TenantNotFound

KEY_PREFIX: Final = "whatsapp-stream:credentials-refused:"
TOKEN_PREFIX: Final = "whatsapp-stream:token-refused:"  # noqa: S105 - a key of Redis
STILL: Final = b"still "  # before the digest of a token that came again
# A refusal says something about the tenant. That the service is away does not.
REFUSALS: Final = {kind.__name__: kind for kind in (TenantNotFound, CredentialsSuspended, CredentialsInvalid)}


class Refusals:
    """Remembers refusals.

    Args:
        link: Redis, which may be away: then nothing is remembered.
        ttl_ms: For how long, in milliseconds; 0 remembers nothing.
    """

    def __init__(self, link: RedisLink, *, ttl_ms: int) -> None:
        self._link = link
        self._ttl_ms = ttl_ms

    async def check(self, tenant_id: TenantId) -> None:
        """Raise what the Tenant Service has just answered for the tenant.

        Raises:
            CredentialError: It has refused the tenant's credentials.
        """
        if (kept := await self._get(KEY_PREFIX + hash_tag(tenant_id))) is None:
            return
        kind, _, text = kept.decode().partition(" ")
        if kind in REFUSALS:
            raise REFUSALS[kind](text)

    async def note(self, tenant_id: TenantId, error: CredentialError) -> None:
        """The Tenant Service has refused."""
        if type(error).__name__ in REFUSALS:
            await self._set(KEY_PREFIX + hash_tag(tenant_id), f"{type(error).__name__} {error}")

    async def token_refused(self, tenant_id: TenantId, token: str) -> bool:
        """Meta has refused the tenant's token.

        Returns:
            Whether the Tenant Service was asked since, and has no other token.
        """
        key, kept = TOKEN_PREFIX + hash_tag(tenant_id), _digest(token)
        if await self._get(key) == STILL + kept.encode():
            return True
        await self._set(key, kept)
        return False

    async def token_fetched(self, tenant_id: TenantId, token: str) -> None:
        """The Tenant Service has given this token."""
        key, kept = TOKEN_PREFIX + hash_tag(tenant_id), _digest(token).encode()
        if await self._get(key) == kept:
            await self._set(key, STILL + kept)

    async def _get(self, key: str) -> bytes | None:
        if self._ttl_ms:
            with suppress(RedisAway):
                kept: bytes | None = await self._link.ask(self._link.redis.get, key)
                return kept
        return None

    async def _set(self, key: str, value: str | bytes) -> None:
        if self._ttl_ms:
            with suppress(RedisAway):
                await self._link.ask(self._link.redis.set, key, value, px=self._ttl_ms)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
