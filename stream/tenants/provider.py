"""Credentials for a message: from the cache, else from one fetch that all concurrent callers share."""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

import structlog

from stream.contract.identifiers import TenantId
from stream.redis_link import RedisAway
from stream.tenants.cache import CredentialCache
from stream.tenants.client import ATTEMPTS, TenantServiceClient
from stream.tenants.credentials import Credentials, TenantServiceUnavailable

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 2.0  # a healthy Tenant Service answers in a fraction of it
POLL_S: Final = 0.05  # a fetch by another replica usually takes a few of these
BACKOFF_ALLOWANCE_S: Final = 6.0  # the waits between attempts: 1 + 2 s, each with up to 1 s of jitter, and a margin


class CredentialProvider:
    """Single flight over the cache and the client.

    Concurrent misses for a tenant join one task in this process; across replicas a lease in Redis lets one fetch while
    the others watch the cache. A lease outlives the longest fetch, so a replica that died in it delays nobody for long.

    A message waits only a moment for a fetch, because it holds a place that a message of another tenant could use; then
    it waits on the broker and the fetch goes on. Once the Tenant Service has been found slow or away, messages that
    need it wait on the broker at once, and one fetch at a time finds out whether it is back.

    Args:
        cache: The shared cache.
        client: The Tenant Service.
        timeout_s: Bound on one attempt of the client, in seconds.
        patience_s: How long a message waits for a fetch, in seconds.
    """

    def __init__(
        self,
        cache: CredentialCache,
        client: TenantServiceClient,
        *,
        timeout_s: float,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._cache = cache
        self._client = client
        self._lease_s = ATTEMPTS * timeout_s + BACKOFF_ALLOWANCE_S
        self._patience_s = patience_s
        self._flights: dict[TenantId, asyncio.Task[Credentials]] = {}
        self._struggling = False

    async def get(self, tenant_id: TenantId) -> Credentials:
        """The tenant's credentials.

        Raises:
            CredentialError: They could not be had; see `stream.tenants.credentials`.
        """
        if (cached := await self._cache.get(tenant_id)) is not None:
            return cached
        if self._struggling and self._flights:
            raise TenantServiceUnavailable("the Tenant Service is slow or away; another fetch is finding out")
        flight = self._flights.get(tenant_id)
        if flight is None:
            flight = self._flights[tenant_id] = asyncio.create_task(self._fetch(tenant_id))
            flight.add_done_callback(lambda done: self._landed(tenant_id, done))
        try:
            # One caller that gives up or is cancelled must not take the fetch away from the others.
            return await asyncio.wait_for(asyncio.shield(flight), self._patience_s)
        except TimeoutError:
            self._note(struggling=True)
            raise TenantServiceUnavailable(f"no credentials within {self._patience_s:g} s; the fetch goes on") from None

    def read(self, tenant_id: TenantId, entry: bytes | None) -> Credentials | None:
        """Read an entry that the caller got from Redis along with something else; `None` if it cannot be used."""
        return self._cache.read(tenant_id, entry)

    async def forget(self, tenant_id: TenantId, failed_token: str) -> None:
        """Drop credentials that Meta refused, unless another replica has already replaced them."""
        await self._cache.invalidate(tenant_id, failed_token=failed_token)

    async def _fetch(self, tenant_id: TenantId) -> Credentials:
        owner = uuid.uuid4().hex
        try:
            if (fetched_elsewhere := await self._lead(tenant_id, owner)) is not None:
                return fetched_elsewhere
        except RedisAway:
            return await self._fetch_and_store(tenant_id)
        try:
            return await self._fetch_and_store(tenant_id)
        finally:
            await self._cache.release(tenant_id, owner)

    async def _lead(self, tenant_id: TenantId, owner: str) -> Credentials | None:
        """Wait until this replica holds the lease (`None`) or another one has filled the cache."""
        while True:
            leading = await self._cache.lease(tenant_id, owner, int(self._lease_s * 1000))
            if (cached := await self._cache.get(tenant_id)) is not None:
                if leading:
                    await self._cache.release(tenant_id, owner)
                return cached
            if leading:
                return None
            await asyncio.sleep(POLL_S)

    async def _fetch_and_store(self, tenant_id: TenantId) -> Credentials:
        credentials = await self._client.fetch(tenant_id)
        await self._cache.set(credentials)
        return credentials

    def _landed(self, tenant_id: TenantId, flight: asyncio.Task[Credentials]) -> None:
        del self._flights[tenant_id]
        if not flight.cancelled():
            # Any answer of the service, a refusal too, says that it is there.
            self._note(struggling=isinstance(flight.exception(), TenantServiceUnavailable))

    def _note(self, *, struggling: bool) -> None:
        if struggling != self._struggling:
            self._struggling = struggling
            log.warning("tenant_service_struggling" if struggling else "tenant_service_back")
