"""Credentials for a message: from the cache, else from one fetch that all concurrent callers share."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from stream.contract.identifiers import PhoneNumberId, TenantId
from stream.redis.availability import RedisAway
from stream.retry import RetryHandler
from stream.tenants.cache import CredentialCache
from stream.tenants.client import ATTEMPTS, TenantServiceClient
from stream.tenants.credentials import Credentials, TenantServiceUnavailable
from stream.tenants.ownership import NumberOwnership
from stream.tenants.struggles import Struggles

log = structlog.get_logger(__name__)

PATIENCE_S: Final = 2.0  # a healthy Tenant Service answers in a fraction of it
GLANCE_S: Final = 0.25  # and mostly within this
POLL_S: Final = 0.05  # a fetch by another replica usually takes a few of these


@dataclass(slots=True, eq=False)
class _Flight:
    """A fetch on its way.

    Attributes:
        task: What it will say.
        started: When it began, in the provider's seconds.
        patience_s: How long messages wait for it, from its start.
        passengers: Messages that wait for it now.
    """

    task: asyncio.Task[Credentials]
    started: float
    patience_s: float
    passengers: int = 0


class CredentialProvider:
    """Single flight over the cache and the client.

    Concurrent misses for a tenant join one task in this process; across replicas a lease in Redis lets one fetch while
    the others watch the cache. A lease outlives the longest fetch, so a replica that died in it delays nobody for long.

    A message that waits for a fetch holds a place that a message of another tenant could use. So it waits a moment
    only, then it waits on the broker, and the fetch goes on without it. When half of the places are held like that,
    further messages wait for a glance only; for a tenant whose record is known to struggle they do not wait, but for
    one that starts the next fetch and may see at a glance that it works again. While the service itself struggles, one
    fetch at a time finds out whether it is back; one more may be that of a tenant whose record struggled before, so
    that neither kind stands in the other's way. A few broken records look like a service that struggles, as long as no
    other tenant's are fetched: so a message of a tenant that is not known to struggle waits a glance for what is found
    out, before it is refused.

    Args:
        cache: The shared cache.
        client: The Tenant Service.
        ownership: Whether credentials are for a message's phone number.
        places: Messages in flight at most. As many fetches may go on for which no message waits; the oldest is given up
            for a further one.
        patience_s: How long a message waits for a fetch, in seconds.
        glance_s: How long it waits where it should hardly wait, in seconds.
        retry: Computes the pause before the next fetch for a tenant whose record struggles.
        clock: Seconds.
    """

    def __init__(
        self,
        cache: CredentialCache,
        client: TenantServiceClient,
        ownership: NumberOwnership,
        *,
        places: int,
        patience_s: float = PATIENCE_S,
        glance_s: float = GLANCE_S,
        retry: RetryHandler | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._client = client
        self._ownership = ownership
        self._places = places
        self._patience_s = patience_s
        self._glance_s = glance_s
        self._flights: dict[TenantId, _Flight] = {}  # the oldest first
        self._clock = clock
        self._struggles = Struggles(retry or RetryHandler(), clock)

    async def get(self, tenant_id: TenantId) -> Credentials:
        """The tenant's credentials.

        Raises:
            CredentialError: They could not be obtained; see `stream.tenants.credentials`.
        """
        if (cached := await self._cache.get(tenant_id)) is not None:
            return cached
        if tenant_id not in self._flights and tenant_id not in self._struggles:
            await self._let_find_out()
        flight = self._flights.get(tenant_id) or self._start(tenant_id)
        await self._wait(flight, flight.patience_s)
        if flight.task.done() and not flight.task.cancelled():
            return flight.task.result()
        self._give_up_oldest()
        raise TenantServiceUnavailable("no credentials within the time that a message waits; the fetch goes on")

    def read(self, tenant_id: TenantId, entry: bytes | None) -> Credentials | None:
        """Read an entry that the caller got from Redis along with something else; `None` if it cannot be used."""
        return self._cache.read(tenant_id, entry)

    def check(self, credentials: Credentials, phone_number_id: PhoneNumberId) -> None:
        """See whether these credentials may be used for this phone number.

        Raises:
            NumberNotOwned: They name another one, and the rule is strict.
        """
        self._ownership.check(credentials, phone_number_id)

    async def forget(self, tenant_id: TenantId, failed_token: str) -> None:
        """Drop credentials that Meta refused, unless another replica has already replaced them."""
        await self._cache.invalidate(tenant_id, failed_token=failed_token)

    async def _let_find_out(self) -> None:
        """Wait a glance for the fetch that finds out whether the service is back, if there is one."""
        if self._struggles.everywhere and (ahead := self._finding_out(struggling=False)):
            await self._wait(ahead, self._glance_s)

    def _finding_out(self, *, struggling: bool) -> _Flight | None:
        """The last fetch for a tenant whose record does, or does not, struggle."""
        found = (each for each in reversed(self._flights) if (each in self._struggles) is struggling)
        return next((self._flights[each] for each in found), None)

    def _start(self, tenant_id: TenantId) -> _Flight:
        """Start a fetch, if one may begin now.

        Raises:
            TenantServiceUnavailable: The tenant's record has failed just now, or the service itself is struggling.
        """
        struggling = tenant_id in self._struggles
        if (reason := self._struggles.pause(tenant_id)) is not None:
            raise TenantServiceUnavailable(f"{reason}; it is asked again in a moment")
        if self._struggles.everywhere and self._finding_out(struggling=struggling):
            raise TenantServiceUnavailable("the Tenant Service is slow or away; another fetch is finding out")
        # A record known to struggle has its pauses between fetches, instead of the client's within one.
        attempts = 1 if struggling and not self._struggles.everywhere else ATTEMPTS
        task = asyncio.create_task(self._fetch(tenant_id, attempts))
        flight = _Flight(task, self._clock(), self._glance_s if struggling else self._patience_s)
        self._flights[tenant_id] = flight
        overdue = asyncio.get_running_loop().call_later(self._patience_s, self._overdue, tenant_id, flight)
        task.add_done_callback(lambda _: self._landed(tenant_id, flight, overdue))
        return flight

    async def _wait(self, flight: _Flight, patience_s: float) -> None:
        """Wait for a fetch while a message may, so many seconds from its start at most.

        A caller that is cancelled takes the fetch away from nobody.
        """
        left_s = flight.started + patience_s - self._clock()
        if 2 * sum(each.passengers for each in self._flights.values()) >= self._places:
            left_s = min(left_s, self._glance_s)
        if left_s <= 0:
            return
        flight.passengers += 1
        try:
            await asyncio.wait({flight.task}, timeout=left_s)
        finally:
            flight.passengers -= 1

    def _give_up_oldest(self) -> None:
        """Of the fetches that no message waits for, keep as many as there are places."""
        alone = [each.task for each in self._flights.values() if not (each.passengers or each.task.cancelling())]
        if len(alone) > self._places:
            alone[0].cancel()

    async def _fetch(self, tenant_id: TenantId, attempts: int) -> Credentials:
        owner = uuid.uuid4().hex
        try:
            if (fetched_elsewhere := await self._lead(tenant_id, owner)) is not None:
                return fetched_elsewhere
            credentials = await self._client.fetch(tenant_id, attempts)
            await self._cache.set(credentials)
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

    def _overdue(self, tenant_id: TenantId, flight: _Flight) -> None:
        with self._telling():
            self._struggles.slow(tenant_id, flight.started)

    def _landed(self, tenant_id: TenantId, flight: _Flight, overdue: asyncio.TimerHandle) -> None:
        del self._flights[tenant_id]
        overdue.cancel()
        error = None if flight.task.cancelled() else flight.task.exception()
        with self._telling():
            if flight.task.cancelled():
                self._struggles.failed(tenant_id, flight.started, "no answer, and its fetch had to make room")
            elif isinstance(error, TenantServiceUnavailable):
                self._struggles.failed(tenant_id, flight.started, str(error))
            else:
                self._struggles.answered(tenant_id)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Log when the service itself begins to struggle, and when it is back."""
        before = self._struggles.everywhere
        yield
        if self._struggles.everywhere != before:
            log.warning("tenant_service_back" if before else "tenant_service_struggling")
