"""Credentials for a message: from the cache, or from one fetch that all concurrent callers share."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from stream.contract.identifiers import PhoneNumberId, TenantId
from stream.redis.availability import RedisAway
from stream.retry import RetryHandler
from stream.tenants.cache import CredentialCache
from stream.tenants.client import ATTEMPTS, TenantServiceClient
from stream.tenants.credentials import CredentialError, Credentials, TenantServiceUnavailable
from stream.tenants.ownership import NumberOwnership
from stream.tenants.refusals import Refusals
from stream.tenants.struggles import Struggles

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 2.0  # a healthy Tenant Service answers much faster
SHORT_PATIENCE_S: Final = 0.25  # a healthy Tenant Service mostly answers within this
POLL_S: Final = 0.05  # a fetch by another replica usually takes a few of these


@dataclass(slots=True, eq=False)
class _Fetch:
    """A fetch that runs now.

    Attributes:
        task: Gives the credentials, or the error.
        started: When it began, in seconds of the provider's clock.
        patience_s: How long messages wait for it, in seconds from its start.
        waiting: Messages that wait for it now.
    """

    task: asyncio.Task[Credentials]
    started: float
    patience_s: float
    waiting: int = 0


class CredentialProvider:
    """Gives credentials from the cache, or from the client with one fetch per tenant at a time.

    Concurrent misses for a tenant share one task in this process. Across replicas, a lease in Redis lets one replica
    fetch while the others poll the cache. The lease is longer than the longest fetch; if its replica dies, it ends.

    A message that waits for a fetch holds a place that a message of another tenant could use. So it waits for at most
    `patience_s`; then it waits on the broker, and the fetch continues. These rules keep the places free:

    - When such messages hold half of the places, further messages wait for `short_patience_s` at most.
    - Messages of a tenant whose record is known to struggle do not wait at all. Only the one that starts the next fetch
      waits for `short_patience_s`, to see whether the record works again.
    - While the service itself struggles, one fetch at a time tests whether it is back. A tenant whose record struggled
      before may make one more, so that neither kind of fetch delays the other.
    - A few broken records look like a service that struggles, if no other tenant's credentials are fetched. So a
      message of a tenant that is not known to struggle waits `short_patience_s` for that test before it is refused.

    Args:
        cache: The shared cache.
        client: The Tenant Service.
        ownership: Whether credentials are for a message's phone number.
        refusals: What the Tenant Service has just refused.
        on_stored: Called with a tenant and its token when they were fetched and are in the cache.
        places: Messages in flight at most. So many fetches may run without a waiting message; for one more, the oldest
            is cancelled.
        patience_s: How long a message waits for a fetch, in seconds.
        short_patience_s: How long it waits in the cases above, in seconds.
        retry: Computes the pause before the next fetch for a tenant whose record struggles.
        clock: Seconds.
    """

    def __init__(  # noqa: PLR0913 - its parts and its times, the latter by name
        self,
        cache: CredentialCache,
        client: TenantServiceClient,
        ownership: NumberOwnership,
        refusals: Refusals,
        *,
        on_stored: Callable[[TenantId, str], Awaitable[None]],
        places: int,
        patience_s: float = PATIENCE_S,
        short_patience_s: float = SHORT_PATIENCE_S,
        retry: RetryHandler | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._client = client
        self._ownership = ownership
        self._refusals = refusals
        self._on_stored = on_stored
        self._places = places
        self._patience_s = patience_s
        self._short_patience_s = short_patience_s
        self._fetches: dict[TenantId, _Fetch] = {}  # the oldest first
        self._clock = clock
        self._struggles = Struggles(retry or RetryHandler(), clock)

    async def get(self, tenant_id: TenantId) -> Credentials:
        """The tenant's credentials.

        Raises:
            CredentialError: They could not be obtained; see `stream.tenants.credentials`.
        """
        if (cached := await self._cache.get(tenant_id)) is not None:
            return cached
        await self._refusals.check(tenant_id)
        if tenant_id not in self._fetches and tenant_id not in self._struggles:
            await self._wait_for_test()
        fetch = self._fetches.get(tenant_id) or self._start(tenant_id)
        await self._wait(fetch, fetch.patience_s)
        if fetch.task.done() and not fetch.task.cancelled():
            return fetch.task.result()
        self._give_up_oldest()
        raise TenantServiceUnavailable("no credentials within the time that a message waits; the fetch goes on")

    def messages_per_second(self, tenant_id: TenantId) -> float | None:
        """The rate limit that a tenant's credentials name, as far as this process remembers them."""
        return self._cache.messages_per_second(tenant_id)

    def read(self, tenant_id: TenantId, entry: bytes | None) -> Credentials | None:
        """Read an entry that the caller got from Redis along with something else; `None` if it cannot be used."""
        return self._cache.read(tenant_id, entry)

    def check(self, credentials: Credentials, phone_number_id: PhoneNumberId) -> None:
        """Check whether these credentials may be used for this phone number.

        Raises:
            NumberNotOwned: They name another number, and the rule is strict.
        """
        self._ownership.check(credentials, phone_number_id)

    async def forget(self, tenant_id: TenantId, failed_token: str) -> None:
        """Drop credentials that Meta refused, unless another replica has already replaced them.

        They stay if the Tenant Service has just been asked again, and has no others.
        """
        if not await self._refusals.token_refused(tenant_id, failed_token):
            await self._cache.invalidate(tenant_id, failed_token=failed_token)

    async def _wait_for_test(self) -> None:
        """Wait shortly for the fetch that tests whether the service is back, if there is one."""
        if self._struggles.everywhere and (test := self._testing(struggling=False)):
            await self._wait(test, self._short_patience_s)

    def _testing(self, *, struggling: bool) -> _Fetch | None:
        """The last fetch for a tenant whose record does, or does not, struggle."""
        found = (each for each in reversed(self._fetches) if (each in self._struggles) is struggling)
        return next((self._fetches[each] for each in found), None)

    def _start(self, tenant_id: TenantId) -> _Fetch:
        """Start a fetch, if one may begin now.

        Raises:
            TenantServiceUnavailable: The tenant's record has just failed, or the service itself is struggling.
        """
        struggling = tenant_id in self._struggles
        if (reason := self._struggles.pause(tenant_id)) is not None:
            raise TenantServiceUnavailable(f"{reason}; it is asked again in a moment")
        if self._struggles.everywhere and self._testing(struggling=struggling):
            raise TenantServiceUnavailable("the Tenant Service is slow or away; another fetch is testing it")
        # For a record known to struggle, the pauses are between fetches, not between the attempts of one fetch.
        attempts = 1 if struggling and not self._struggles.everywhere else ATTEMPTS
        task = asyncio.create_task(self._fetch(tenant_id, attempts))
        fetch = _Fetch(task, self._clock(), self._short_patience_s if struggling else self._patience_s)
        self._fetches[tenant_id] = fetch
        overdue = asyncio.get_running_loop().call_later(self._patience_s, self._overdue, tenant_id, fetch)
        task.add_done_callback(lambda _: self._ended(tenant_id, fetch, overdue))
        return fetch

    async def _wait(self, fetch: _Fetch, patience_s: float) -> None:
        """Wait for a fetch until `patience_s` seconds after its start at most.

        If a caller is cancelled, the fetch continues for the others.
        """
        left_s = fetch.started + patience_s - self._clock()
        if 2 * sum(each.waiting for each in self._fetches.values()) >= self._places:
            left_s = min(left_s, self._short_patience_s)
        if left_s <= 0:
            return
        fetch.waiting += 1
        try:
            await asyncio.wait({fetch.task}, timeout=left_s)
        finally:
            fetch.waiting -= 1

    def _give_up_oldest(self) -> None:
        """If more fetches run without a waiting message than there are places, cancel the oldest of them."""
        alone = [each.task for each in self._fetches.values() if not (each.waiting or each.task.cancelling())]
        if len(alone) > self._places:
            alone[0].cancel()

    async def _fetch(self, tenant_id: TenantId, attempts: int) -> Credentials:
        owner = uuid.uuid4().hex
        try:
            if (fetched_elsewhere := await self._lead(tenant_id, owner)) is not None:
                return fetched_elsewhere
            credentials = await self._client.fetch(tenant_id, attempts)
        except CredentialError as error:
            await self._refusals.note(tenant_id, error)
            raise
        else:
            await self._refusals.token_fetched(tenant_id, credentials.access_token)
            await self._cache.set(credentials)
            await self._on_stored(tenant_id, credentials.access_token)
            return credentials
        finally:
            await self._cache.release(tenant_id, owner)

    async def _lead(self, tenant_id: TenantId, owner: str) -> Credentials | None:
        """Wait until this replica holds the lease (`None`) or another one has filled the cache."""
        try:
            while True:
                leading = await self._cache.lease(tenant_id, owner, int(self._client.longest_fetch_s * 1000))
                if (cached := await self._cache.get(tenant_id)) is not None or leading:
                    return cached
                await asyncio.sleep(POLL_S)
        except RedisAway:
            return None

    def _overdue(self, tenant_id: TenantId, fetch: _Fetch) -> None:
        with self._logging_changes():
            self._struggles.slow(tenant_id, fetch.started)

    def _ended(self, tenant_id: TenantId, fetch: _Fetch, overdue: asyncio.TimerHandle) -> None:
        del self._fetches[tenant_id]
        overdue.cancel()
        error = None if fetch.task.cancelled() else fetch.task.exception()
        with self._logging_changes():
            if fetch.task.cancelled():
                self._struggles.failed(tenant_id, fetch.started, "no answer, and its fetch was cancelled for another")
            elif isinstance(error, TenantServiceUnavailable):
                self._struggles.failed(tenant_id, fetch.started, str(error))
            else:
                self._struggles.answered(tenant_id)

    @contextmanager
    def _logging_changes(self) -> Iterator[None]:
        """Log when the service itself begins to struggle, and when it is back."""
        before = self._struggles.everywhere
        yield
        if self._struggles.everywhere != before:
            log.warning("tenant_service_back" if before else "tenant_service_struggling")
