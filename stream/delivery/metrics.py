"""What is counted for each message, in the metrics of `stream.observe.instruments`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from stream.contract.messages import Message, Whose
from stream.delivery.arrival import Delivery
from stream.delivery.decision import Acknowledge, DeadLetter, Decision, LeaveToBroker, Move, Postpone, RetryAfter
from stream.delivery.outcome import Sent
from stream.meta.failure import Certainty, Failure
from stream.observe.instruments import Instruments
from stream.observe.last_minute import LastMinute

_NO_TRY: Final = (Postpone, Move)
UNKNOWN_TENANT: Final = ""  # of bytes that are not a message


class DeliveryMetrics:
    """Counts messages, requests and credentials.

    Args:
        instruments: The declared metrics.
        now: Seconds since the epoch, for ages.
    """

    def __init__(self, instruments: Instruments | None = None, *, now: Callable[[], float] = time.time) -> None:
        instruments = instruments or Instruments()
        self.last_minute = LastMinute()
        self._now = now
        self._tenant = instruments.tenants.label
        self._consumed = instruments.series("messages_consumed_total")
        self._delivered = instruments.series("messages_delivered_total")
        self._failed = instruments.counter("messages_failed_total")
        self._retried = instruments.counter("messages_retried_total")
        self._duplicates = instruments.counter("messages_duplicate_total")
        self._moved = instruments.counter("messages_moved_total")
        self._unknown = instruments.counter("messages_unknown_outcome_total")
        self._requests = instruments.series("meta_api_requests_total")
        self._processing = instruments.histogram("message_processing_duration_seconds")
        self._request_time = instruments.histogram("meta_api_request_duration_seconds")
        credentials = instruments.histogram("credential_fetch_duration_seconds")
        self._credentials = {cached: credentials.labels("true" if cached else "false") for cached in (True, False)}
        self._no_credentials = instruments.counter("credential_fetch_failures_total")
        self._age = instruments.histogram("message_age_seconds")
        self._waiting_for_circuit = instruments.counter("messages_waiting_for_circuit_total")
        self._paced = instruments.counter("messages_paced_total")
        self._unrecorded = instruments.counter("messages_unrecorded_total")
        self._events_lost = instruments.counter("events_lost_total")

    def settled(self, delivery: Delivery, decision: Decision) -> None:
        """Count what became of a message."""
        tenant = self._label(delivery.whose)
        if not isinstance(decision, _NO_TRY):
            self.last_minute.count(failed=not isinstance(decision, Acknowledge))
        match decision:
            case Acknowledge(Sent() as sent):
                self._count_sent(tenant, sent, delivery.published_at)
            case Acknowledge():
                self._consumed(tenant, "duplicate").inc()
                self._duplicates.inc()
            case RetryAfter(failure):
                self._consumed(tenant, "retry").inc()
                self._retried.labels(failure.rule.name).inc()
                self._count_unknown(failure, "retry")
            case Postpone(waits_for=what):
                if what == "circuit":
                    self._waiting_for_circuit.inc()
                self._consumed(tenant, "waiting").inc()
            case Move():
                self._consumed(tenant, "moved").inc()
                self._moved.labels(tenant).inc()
            case DeadLetter(failure):
                self._count_failed(tenant, failure)
            case LeaveToBroker(error_type=error_type):
                self._count_failed(tenant, Failure.of(error_type, ""))

    def not_settled(self, message: Message | Whose | None) -> None:
        """Count a message that the broker will deliver again."""
        self.last_minute.count(failed=True)
        self._consumed(self._label(message), "not_settled").inc()

    def requested(self, tenant: str, http_status: int | None, seconds: float) -> None:
        """Count one request to Meta."""
        self._requests(self._tenant(tenant), "none" if http_status is None else str(http_status)).inc()
        self._request_time.observe(seconds)

    def credentials(self, seconds: float, *, cached: bool) -> None:
        """Count credentials that were obtained."""
        self._credentials[cached].observe(seconds)

    def no_credentials(self, error_type: str) -> None:
        """Count a message for which no credentials were obtained."""
        self._no_credentials.labels(error_type).inc()

    def paced(self, limit: str) -> None:
        """Count a message that waits on the broker for its turn within a rate limit."""
        self._paced.labels(limit).inc()

    def unrecorded(self) -> None:
        """Count a message that was sent and that the ledger may not know."""
        self._unrecorded.inc()

    def event_lost(self) -> None:
        """Count an event that was not published."""
        self._events_lost.inc()

    def _label(self, message: Message | Whose | None) -> str:
        return self._tenant(message.tenant_id) if message and message.tenant_id else UNKNOWN_TENANT

    def _count_sent(self, tenant: str, sent: Sent, published_at: float) -> None:
        self._consumed(tenant, "delivered").inc()
        self._delivered(tenant).inc()
        self._processing.observe(sent.process_s)
        self._age.observe(max(0.0, self._now() - published_at))
        if sent.after_unknown:
            self._unknown.labels("sent again").inc()

    def _count_failed(self, tenant: str, failure: Failure) -> None:
        self._consumed(tenant, "dead_lettered").inc()
        code = "" if failure.code is None else str(failure.code)
        self._failed.labels(tenant, failure.rule.name, code, str(failure.rule.retryable).lower()).inc()
        self._count_unknown(failure, "dead letter")

    def _count_unknown(self, failure: Failure, decision: str) -> None:
        if failure.certainty is Certainty.UNKNOWN:
            self._unknown.labels(decision).inc()
