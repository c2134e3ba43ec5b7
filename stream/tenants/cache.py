"""The credential cache: in Redis, shared by all replicas, each entry with Redis' own TTL.

Redis is the truth. The process also remembers the entries it has decoded, for two reasons: an entry whose bytes have
not changed need not be decrypted again, and while Redis is away a recently seen entry may be used for a short time.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.contract.identifiers import TenantId
from stream.tenants.codec import CredentialCodec
from stream.tenants.credentials import Credentials

KEY_PREFIX: Final = "whatsapp-stream:credentials:"
LEASE_PREFIX: Final = "whatsapp-stream:credentials-lease:"
REMEMBERED: Final = 4096  # tenants; about 2 KiB each
LOCAL_TTL_S: Final = 60.0  # how stale a token may be while Redis is away
RETRY_REDIS_S: Final = 1.0  # while it is away, one message a second tries it and the others do not wait for it

# Removes the entry only while it is the one that was read: another replica may have refreshed it since.
_DELETE_IF_EQUAL: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

log = structlog.get_logger(__name__)


class CacheUnavailable(Exception):  # noqa: N818 - a state, not a fault of the caller
    """Redis cannot be reached: the caller goes on without it."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    entry: bytes
    credentials: Credentials
    seen_at: float


class CredentialCache:
    """Credentials by tenant.

    Args:
        redis: Client with short timeouts, without response decoding.
        codec: How entries are written.
        clock: Seconds since the epoch.
    """

    def __init__(self, redis: Redis, codec: CredentialCodec, *, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._codec = codec
        self._clock = clock
        self._remembered: OrderedDict[TenantId, _Remembered] = OrderedDict()
        self._away_since: float | None = None
        self._next_try = 0.0

    async def get(self, tenant_id: TenantId) -> Credentials | None:
        """The tenant's credentials, or `None`: not there, expired, or not readable under the present keys."""
        try:
            entry = await self._ask(self._redis.get, KEY_PREFIX + tenant_id)
        except CacheUnavailable:
            return self._local(tenant_id)
        if not isinstance(entry, bytes):
            self._remembered.pop(tenant_id, None)
            return None
        known = self._remembered.get(tenant_id)
        if known is not None and known.entry == entry:
            credentials: Credentials | None = known.credentials
        else:
            credentials = self._codec.decode(tenant_id, entry)
        if credentials is None or self.is_expired(credentials):
            return None
        self._remember(entry, credentials)
        return credentials

    async def set(self, credentials: Credentials) -> None:
        """Store until its TTL ends, for every replica; only in this process while Redis is away."""
        entry = self._codec.encode(credentials)
        self._remember(entry, credentials)
        try:
            await self._ask(self._redis.set, KEY_PREFIX + credentials.tenant_id, entry, px=max(1, credentials.ttl_ms))
        except CacheUnavailable:
            return

    async def invalidate(self, tenant_id: TenantId, *, failed_token: str | None = None) -> bool:
        """Remove the tenant's entry; with `failed_token`, only if it still holds that token.

        Returns:
            Whether an entry was removed.
        """
        known = self._remembered.get(tenant_id)
        if known is not None and failed_token in {None, known.credentials.access_token}:
            del self._remembered[tenant_id]
        key = KEY_PREFIX + tenant_id
        try:
            if failed_token is None:
                return bool(await self._ask(self._redis.delete, key))
            entry = await self._ask(self._redis.get, key)
            held = self._codec.decode(tenant_id, entry) if isinstance(entry, bytes) else None
            if held is None or held.access_token != failed_token:
                return False
            return bool(await self._ask(self._redis.eval, _DELETE_IF_EQUAL, 1, key, entry))
        except CacheUnavailable:
            return known is not None

    async def has(self, tenant_id: TenantId) -> bool:
        """Whether usable credentials are cached."""
        return await self.get(tenant_id) is not None

    def is_expired(self, credentials: Credentials) -> bool:
        """Whether the credentials' own TTL has ended. Redis removes entries itself; this serves the local ones."""
        return self._clock() >= credentials.cached_at + credentials.ttl_ms / 1000

    async def clear(self) -> int:
        """Remove every tenant's entry.

        Returns:
            How many were removed.

        Raises:
            CacheUnavailable: Redis cannot be reached.
        """
        self._remembered.clear()
        removed = 0
        try:
            async for key in self._redis.scan_iter(match=KEY_PREFIX + "*", count=1000):
                removed += int(await self._redis.unlink(key))
        except (RedisError, OSError) as error:
            raise CacheUnavailable(str(error)) from error
        return removed

    async def lease(self, tenant_id: TenantId, owner: str, ttl_ms: int) -> bool:
        """Try to become the one replica that fetches this tenant's credentials.

        Raises:
            CacheUnavailable: Redis cannot be reached.
        """
        return bool(await self._ask(self._redis.set, LEASE_PREFIX + tenant_id, owner, nx=True, px=ttl_ms))

    async def release(self, tenant_id: TenantId, owner: str) -> None:
        """Give the lease back, if it is still this owner's."""
        try:
            await self._ask(self._redis.eval, _DELETE_IF_EQUAL, 1, LEASE_PREFIX + tenant_id, owner)
        except CacheUnavailable:
            return  # it ends by itself

    async def _ask(self, command: Callable[..., Any], *args: Any, **options: Any) -> Any:
        now = self._clock()
        if self._away_since is not None and now < self._next_try:
            raise CacheUnavailable
        try:
            answer = await command(*args, **options)
        except (RedisError, OSError) as error:
            self._note_away(now, error)
            raise CacheUnavailable from None
        if self._away_since is not None:
            log.warning("redis_back", away_s=round(now - self._away_since, 1))
            self._away_since = None
        return answer

    def _note_away(self, now: float, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = now
            log.warning("redis_away", error=f"{type(error).__name__}: {error}", consequence="credentials kept locally")
        self._next_try = now + RETRY_REDIS_S

    def _local(self, tenant_id: TenantId) -> Credentials | None:
        known = self._remembered.get(tenant_id)
        if known is None or self.is_expired(known.credentials) or self._clock() - known.seen_at > LOCAL_TTL_S:
            return None
        return known.credentials

    def _remember(self, entry: bytes, credentials: Credentials) -> None:
        self._remembered[credentials.tenant_id] = _Remembered(entry, credentials, self._clock())
        self._remembered.move_to_end(credentials.tenant_id)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
