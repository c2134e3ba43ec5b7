"""The story of one try: claim, credentials, send, outcome."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from stream.contract.headers import OnUnknown
from stream.contract.messages import Message
from stream.delivery import report
from stream.delivery.circuit_reports import CircuitReports
from stream.delivery.claim import Claim, Granted, NoCredentials, Paced
from stream.delivery.claims import Claims
from stream.delivery.failures import failure_of, is_foreseen
from stream.delivery.ledger import SentLedger
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Failed, Outcome, Sent
from stream.delivery.throttles import slow_down_for
from stream.delivery.tries import Expired, Try, ended_by
from stream.meta.client import Accepted, GraphClient
from stream.meta.failure import Certainty, Failure, GraphError
from stream.observe import tracing
from stream.tenants.credentials import CredentialError, Credentials
from stream.tenants.provider import CredentialProvider
from stream.traffic.circuit_script import number_field
from stream.traffic.paces import Paces
from stream.traffic.slow_downs import SlowDowns

# A slot of RabbitMQ's prefetch may be held for so long, where the shortest wait on the broker is five times as long.
LONGEST_SLEEP_S: Final = 0.05
_NOT_FORBIDDEN: Final = (Granted, NoCredentials)
CLOCK_STEP_S: Final = 0.001  # so that no message comes back just before its turn

log = structlog.get_logger(__name__)


class MessageProcessor:
    """Tries to deliver one message, once, and says how it went.

    Args:
        credentials: Where a tenant's credentials come from.
        claims: Give the right to send a message.
        paces: Knows the rate limits of a message.
        ledger: Where the ends of sends are recorded.
        graph: Meta.
        on_unknown: `ON_UNKNOWN_OUTCOME`.
        circuits: Asked before a claim, and told how a try ended.
        slow_downs: Told that Meta refused a send for its rate.
        metrics: Counts requests and credentials.
        bound_s: How long claim, credentials and send may take together, in seconds; the record of the end comes after.
        monotonic: Seconds, for durations.
        now: The current time in UTC, for validity.
        sleep: How a short wait for a turn waits.
    """

    def __init__(  # noqa: PLR0913 - all that a try meets
        self,
        *,
        credentials: CredentialProvider,
        claims: Claims,
        paces: Paces,
        ledger: SentLedger,
        graph: GraphClient,
        on_unknown: OnUnknown,
        circuits: CircuitReports,
        slow_downs: SlowDowns,
        metrics: DeliveryMetrics,
        bound_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._credentials = credentials
        self._claims = claims
        self._paces = paces
        self._ledger = ledger
        self._graph = graph
        self._on_unknown = on_unknown
        self._circuits = circuits
        self._slow_downs = slow_downs
        self._metrics = metrics
        self._bound_s = bound_s
        self._process = uuid.uuid4().hex  # a container's host name and process id may be those of the one before
        self._tries = itertools.count()
        self._monotonic = monotonic
        self._now = now
        self._sleep = sleep

    async def process(self, message: Message) -> Outcome:
        """Deliver the message, or say why not. Raises nothing: an unexpected error is an outcome too."""
        started = self._monotonic()
        send_again = (message.instructions.on_unknown or self._on_unknown) == "retry"
        current = Try(message, f"{self._process}:{next(self._tries)}", send_again)
        try:
            async with asyncio.timeout(self._bound_s):
                current.keys = self._claims.keys(message)
                current.limits = self._paces.of(message.tenant_id, message.phone_number_id, message.recipient)
                answer = await self._send(current)
        except Exception as error:  # noqa: BLE001 - logged and classified there; a try ends in an outcome
            failure = self._failure(error, current)
            process_s = self._monotonic() - started
            _, pause_s = await asyncio.gather(self._give_up_claim(current, failure), self._slow_down(current, failure))
            wait_s = await self._circuits.failed(current, failure)
            news = self._circuits.news(current)
            return Failed(failure, process_s, current.sends, current.after_unknown, wait_s, pause_s, news)
        if not isinstance(answer, Accepted):
            if current.claimed:  # a circuit has opened between the two sends of this try
                await self._ledger.release(current.keys[0], current.owner)
            if self._circuits.concerns(current):
                await self._circuits.ended(current)
            return answer
        await self._ledger.record_sent(
            current.keys[0], answer, claimed=current.claimed, after_unknown=current.after_unknown
        )
        process_s = self._monotonic() - started
        if self._circuits.concerns(current):
            await self._circuits.succeeded(current)
        return Sent(answer, process_s, current.sends, current.after_unknown, self._circuits.news(current))

    async def _send(self, current: Try) -> Accepted | Outcome:
        """Send; if Meta refuses the credentials, fetch them again and send once more, at once."""
        try:
            return await self._send_once(current)
        except GraphError as error:
            if not error.failure.rule.invalidate_credentials:
                raise
            current.refusal = error
            log.warning("credentials_refused", tenantId=current.message.tenant_id, error=str(error))
        await self._credentials.forget(current.message.tenant_id, current.token)
        return await self._send_once(current)

    async def _send_once(self, current: Try) -> Accepted | Outcome:
        """Claim the message, get its credentials and send it; an outcome without a send if the ledger says so."""
        message, credentials = current.message, await self._admit(current)
        if not isinstance(credentials, Credentials):
            return credentials
        if current.refusal and credentials.access_token == current.token:
            raise current.refusal  # what was fetched is what Meta has just refused
        self._credentials.check(credentials, message.phone_number_id)
        left_s = self._left_s(message)
        current.sends, current.token, current.in_request = current.sends + 1, credentials.access_token, True
        current.sent_at, status = time.perf_counter(), None
        with tracing.span("send", message.tenant_id, client=True) as span:
            try:
                accepted = await self._graph.send(
                    message.phone_number_id,
                    credentials.access_token,
                    message.payload_bytes,
                    leave_within_s=left_s,
                )
                status = accepted.http_status
            except GraphError as error:
                current.in_request, status = False, error.failure.http_status
                span.answered(status, error.failure.rule.name)
                raise
            finally:
                self._metrics.requested(message.tenant_id, status, time.perf_counter() - current.sent_at)
            span.answered(status)
        return accepted

    async def _admit(self, current: Try) -> Credentials | Outcome:
        """Claim the message and get its tenant's credentials: one call to Redis, unless they must be fetched.

        Returns:
            The credentials, or the outcome of a message that was sent before, is being sent, or must not be sent again.

        Raises:
            CredentialError: No credentials.
            Expired: Its validity has ended, and it is not worth asking for credentials.
        """
        started = time.perf_counter()
        claim = await self._claim(current, need_credentials=True)
        if ended := ended_by(claim):
            return ended
        credentials = self._cached(claim, current)
        cached = credentials is not None
        if credentials is None:
            self._left_s(current.message)  # raises if it has ended: then no credentials are fetched
            with tracing.span("credentials", current.message.tenant_id):
                credentials = await self._credentials.get(current.message.tenant_id)
        self._metrics.credentials(time.perf_counter() - started, cached=cached)
        if not cached and (ended := ended_by(await self._claim(current, need_credentials=False))):
            return ended
        return credentials

    def _cached(self, claim: Claim, current: Try) -> Credentials | None:
        entry = claim.entry if isinstance(claim, Granted) else None
        return self._credentials.read(current.message.tenant_id, entry) if entry else None

    def _left_s(self, message: Message) -> float:
        """For how long the message may still be sent. Asked after the ledger: a sent message stays a duplicate.

        Returns:
            More than 0, in seconds.

        Raises:
            Expired: Its validity has ended.
        """
        left_s = (message.validity.ends - self._now()).total_seconds()
        if left_s <= 0:
            raise Expired
        return left_s

    async def _claim(self, current: Try, *, need_credentials: bool) -> Claim:
        """Claim the message; a short wait for its turn is over at once."""
        claim = await self._claim_now(current, need_credentials=need_credentials)
        if isinstance(claim, Paced) and claim.left_s < LONGEST_SLEEP_S:
            await self._sleep(claim.left_s + CLOCK_STEP_S)
            claim = await self._claim_now(current, need_credentials=need_credentials)
        if isinstance(claim, Paced):
            self._metrics.paced(claim.limit)
        return claim

    async def _claim_now(self, current: Try, *, need_credentials: bool) -> Claim:
        left_s = (current.message.validity.ends - self._now()).total_seconds()
        platform = await self._circuits.platform_open(current) if self._circuits.platform_in_trouble else None
        with tracing.span("claim", current.message.tenant_id):
            claim = await self._claims.claim(
                current.keys,
                current.owner,
                number_field(current.message.phone_number_id),
                limits=current.limits,
                left_s=0.0 if current.claimed else left_s,  # a claim that is renewed has had its turn
                platform=platform,
                send_again=current.send_again,
                need_credentials=need_credentials,
                needs_ledger=current.message.instructions.needs_ledger,
            )
        if isinstance(claim, _NOT_FORBIDDEN):
            current.claimed = current.claimed or claim.recorded
            if claim.seen or (current.seen and claim.recorded):
                await self._circuits.claimed(current, claim.seen)
        if isinstance(claim, Granted) and claim.after_unknown is not None and not current.after_unknown:
            current.after_unknown = True
            who = report.log_fields(current.message)
            log.warning("sending_again_after_unknown_outcome", firstReplica=claim.after_unknown, **who)
        return claim

    def _failure(self, error: Exception, current: Try) -> Failure:
        """What an exception means for the message; logged if nobody foresaw it."""
        failure = failure_of(error, current, bound_s=self._bound_s)
        if isinstance(error, CredentialError):
            self._metrics.no_credentials(failure.rule.name)
        elif not is_foreseen(error):
            log.error("unexpected_error", exc_info=error, **report.log_fields(current.message))
        return failure

    async def _slow_down(self, current: Try, failure: Failure) -> float | None:
        """Send less, if Meta refused the message for its rate; how long it has to wait for that, in seconds."""
        if (slow_down := slow_down_for(failure)) is None:
            return None
        message, took_s = current.message, time.perf_counter() - current.sent_at
        who = {"tenantId": message.tenant_id, "phoneNumberId": message.phone_number_id}
        return await self._slow_downs.tell(current.limits, slow_down, took_s, **who)

    async def _give_up_claim(self, current: Try, failure: Failure) -> None:
        if not current.claimed:
            return
        if failure.certainty is Certainty.UNKNOWN:
            probably_sent = failure.rule.name == "INVALID_RESPONSE"
            await self._ledger.record_unknown(current.keys[0], current.owner, send_again=not probably_sent)
        else:
            await self._ledger.release(current.keys[0], current.owner)
