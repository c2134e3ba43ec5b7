"""How credentials are stored: JSON, encrypted when there are keys, bound to their tenant."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from stream.contract.identifiers import TenantId
from stream.tenants.credentials import Credentials


class _Entry(msgspec.Struct):
    """What is stored; an entry with a field missing or of another kind is no entry."""

    tenantId: str  # noqa: N815 - the stored names, here and below
    token: str
    phoneNumberId: str | None  # noqa: N815
    messagesPerSecond: float | None  # noqa: N815
    cachedAt: float  # noqa: N815
    ttlMs: int  # noqa: N815


_read = msgspec.json.Decoder(_Entry).decode


class CredentialCodec:
    """Writes and reads cache entries.

    Args:
        keys: Fernet keys; the first encrypts, all decrypt, so that keys can be rotated. None: plain JSON.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None

    def encode(self, credentials: Credentials) -> bytes:
        """Write an entry; the tenant's id is inside, so an entry copied to another key is not accepted there."""
        plain = msgspec.json.encode(
            _Entry(
                tenantId=credentials.tenant_id,
                token=credentials.access_token,
                phoneNumberId=credentials.phone_number_id,
                messagesPerSecond=credentials.messages_per_second,
                cachedAt=credentials.cached_at,
                ttlMs=credentials.ttl_ms,
            )
        )
        return self._fernet.encrypt(plain) if self._fernet else plain

    def decode(self, tenant_id: TenantId, entry: bytes) -> Credentials | None:
        """Read an entry; `None` for anything that is not this tenant's entry under these keys."""
        try:
            content = _read(self._fernet.decrypt(entry) if self._fernet else entry)
        except (InvalidToken, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if content.tenantId != tenant_id or not content.token:
            return None
        return Credentials(
            tenant_id=tenant_id,
            access_token=content.token,
            phone_number_id=content.phoneNumberId,
            messages_per_second=content.messagesPerSecond,
            cached_at=content.cachedAt,
            ttl_ms=content.ttlMs,
        )
