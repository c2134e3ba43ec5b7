"""The credential cache: in Redis, shared by all replicas, each entry with Redis' own TTL.

What Redis holds is valid. The process also remembers the entries it has decoded, for two reasons: an entry whose bytes
have not changed need not be decrypted again, and while Redis is away a recent entry may be used for a short time.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stream.contract.identifiers import TenantId, hash_tag
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.tenants.codec import CredentialCodec
from stream.tenants.credentials import Credentials

KEY_PREFIX: Final = "whatsapp-stream:credentials:"
LEASE_PREFIX: Final = "whatsapp-stream:credentials-lease:"
REMEMBERED: Final = 10_000  # tenants, 1 KiB each; each message of a forgotten tenant costs a decryption
LOCAL_TTL_S: Final = 60.0  # how old a token may be while Redis is away

# Removes the entry only while it is the one that was read: another replica may have refreshed it since.
_DELETE_IF_EQUAL: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(slots=True)
class _Remembered:
    """An entry that was decoded once.

    Attributes:
        entry: Its bytes in Redis.
        credentials: What they mean.
        ends_at: When the credentials' own TTL ends, in seconds since the epoch.
        seen_at: When Redis last held these bytes, in seconds since the epoch.
    """

    entry: bytes
    credentials: Credentials
    ends_at: float
    seen_at: float


def entry_key(tenant_id: TenantId) -> str:
    """Where Redis keeps a tenant's entry."""
    return KEY_PREFIX + hash_tag(tenant_id)


def lease_key(tenant_id: TenantId) -> str:
    """Where Redis keeps the name of the replica that fetches a tenant's entry."""
    return LEASE_PREFIX + hash_tag(tenant_id)


class CredentialCache:
    """Credentials by tenant.

    Args:
        link: Redis, which may be away.
        codec: How entries are written.
        clock: Seconds since the epoch.
    """

    def __init__(self, link: RedisLink, codec: CredentialCodec, *, clock: Callable[[], float] = time.time) -> None:
        self._link = link
        self._codec = codec
        self._clock = clock
        self._remembered: OrderedDict[TenantId, _Remembered] = OrderedDict()

    async def get(self, tenant_id: TenantId) -> Credentials | None:
        """The tenant's credentials, or `None`: not there, expired, or not readable under the present keys."""
        try:
            entry = await self._link.ask(self._link.redis.get, entry_key(tenant_id))
        except RedisAway:
            return self._local(tenant_id)
        return self.read(tenant_id, entry)

    def read(self, tenant_id: TenantId, entry: bytes | None) -> Credentials | None:
        """Read an entry that came from Redis; one whose bytes have not changed is not decrypted again."""
        if entry is None:
            self._remembered.pop(tenant_id, None)
            return None
        known = self._remembered.get(tenant_id)
        if known is None or known.entry != entry:
            return self._decode(tenant_id, entry)
        now = self._clock()
        if now >= known.ends_at:
            return None
        known.seen_at = now  # in place: this is read for every message
        self._remembered.move_to_end(tenant_id)
        return known.credentials

    def messages_per_second(self, tenant_id: TenantId) -> float | None:
        """The rate limit that a tenant's credentials name, as far as this process remembers them."""
        known = self._remembered.get(tenant_id)
        return known.credentials.messages_per_second if known else None

    async def set(self, credentials: Credentials) -> None:
        """Store until its TTL ends, for every replica; only in this process while Redis is away."""
        entry = self._codec.encode(credentials)
        self._remember(entry, credentials)
        try:
            await self._link.ask(
                self._link.redis.set, entry_key(credentials.tenant_id), entry, px=max(1, credentials.ttl_ms)
            )
        except RedisAway:
            return

    async def invalidate(self, tenant_id: TenantId, *, failed_token: str | None = None) -> bool:
        """Remove the tenant's entry; with `failed_token`, only if it still holds that token.

        Returns:
            Whether an entry was removed.
        """
        known = self._remembered.get(tenant_id)
        forgotten = known is not None and failed_token in {None, known.credentials.access_token}
        if forgotten:
            del self._remembered[tenant_id]
        key = entry_key(tenant_id)
        try:
            if failed_token is None:
                return bool(await self._link.ask(self._link.redis.delete, key))
            entry = await self._link.ask(self._link.redis.get, key)
            held = self._codec.decode(tenant_id, entry) if isinstance(entry, bytes) else None
            if held is None or held.access_token != failed_token:
                return False
            return bool(await self._link.ask(self._link.redis.eval, _DELETE_IF_EQUAL, 1, key, entry))
        except RedisAway:
            return forgotten

    async def has(self, tenant_id: TenantId) -> bool:
        """Whether usable credentials are cached. Asked for by name in the contract of this module."""
        return await self.get(tenant_id) is not None

    def is_expired(self, credentials: Credentials) -> bool:
        """Whether the credentials' own TTL has ended. Redis removes entries itself; this serves the local ones."""
        return self._clock() >= _end_of(credentials)

    async def clear(self) -> int:
        """Remove every tenant's entry.

        Returns:
            How many were removed.

        Raises:
            RedisAway: Redis cannot be reached.
        """
        self._remembered.clear()

        async def unlink_all() -> int:
            redis = self._link.redis
            return sum([await redis.unlink(key) async for key in redis.scan_iter(match=KEY_PREFIX + "*", count=1000)])

        return int(await self._link.ask(unlink_all))

    async def lease(self, tenant_id: TenantId, owner: str, ttl_ms: int) -> bool:
        """Try to become the one replica that fetches this tenant's credentials.

        Raises:
            RedisAway: Redis cannot be reached.
        """
        return bool(await self._link.ask(self._link.redis.set, lease_key(tenant_id), owner, nx=True, px=ttl_ms))

    async def release(self, tenant_id: TenantId, owner: str) -> None:
        """Give the lease back, if it is still this owner's."""
        try:
            await self._link.ask(self._link.redis.eval, _DELETE_IF_EQUAL, 1, lease_key(tenant_id), owner)
        except RedisAway:
            return  # it ends by itself

    def _local(self, tenant_id: TenantId) -> Credentials | None:
        known = self._remembered.get(tenant_id)
        if known is None or self.is_expired(known.credentials) or self._clock() - known.seen_at > LOCAL_TTL_S:
            return None
        return known.credentials

    def _decode(self, tenant_id: TenantId, entry: bytes) -> Credentials | None:
        credentials = self._codec.decode(tenant_id, entry)
        if credentials is None or self.is_expired(credentials):
            return None
        self._remember(entry, credentials)
        return credentials

    def _remember(self, entry: bytes, credentials: Credentials) -> None:
        self._remembered[credentials.tenant_id] = _Remembered(
            entry, credentials, ends_at=_end_of(credentials), seen_at=self._clock()
        )
        self._remembered.move_to_end(credentials.tenant_id)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)


def _end_of(credentials: Credentials) -> float:
    return credentials.cached_at + credentials.ttl_ms / 1000
