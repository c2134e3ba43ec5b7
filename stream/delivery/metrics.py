"""Metrics for Prometheus, each declared once with its type, unit and labels. No label is unbounded."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stream.contract.messages import OutboundMessage
from stream.delivery.decision import Acknowledge, DeadLetter, Decision, RetryAfter, WaitForOther
from stream.delivery.outcome import Sent
from stream.delivery.routes import FORWARD, route_for
from stream.meta.failure import Certainty, Failure

# From a cached send on a fast line to a send that runs into its timeout.
SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 20)


class Metrics:
    """The worker's metrics, in a registry of their own.

    Args:
        in_flight: How many tries run now.
        redis_away: Whether Redis cannot be reached.
    """

    def __init__(self, *, in_flight: Callable[[], float], redis_away: Callable[[], bool]) -> None:
        self.registry = registry = CollectorRegistry()
        self._delivered = Counter("messages_delivered", "Messages that Meta accepted.", ["type"], registry=registry)
        self._duplicates = Counter("messages_duplicate", "Copies of messages sent before.", registry=registry)
        self._retried = Counter("messages_retried", "Waits for a retry.", ["error_type"], registry=registry)
        self._failed = Counter("messages_failed", "Dead letters.", ["error_type", "retryable"], registry=registry)
        self._unknown = Counter(
            "messages_unknown_outcome",
            "Sends that got no answer: the message may have been delivered.",
            ["decision"],
            registry=registry,
        )
        self._seconds = Histogram(
            "message_processing_duration_seconds",
            "A delivered message's last try, credentials included.",
            buckets=SECONDS,
            registry=registry,
        )
        Gauge("messages_in_flight", "Tries that run now.", registry=registry).set_function(in_flight)
        Gauge(
            "redis_away", "1 while Redis cannot be reached and a message may be sent twice.", registry=registry
        ).set_function(lambda: float(redis_away()))

    def settled(self, message: OutboundMessage | None, decision: Decision) -> None:
        """Count what became of a message."""
        match decision:
            case Acknowledge(Sent() as sent):
                self._delivered.labels(route_for(message).name if message else FORWARD.name).inc()
                self._seconds.observe(sent.process_s)
                if sent.after_unknown:
                    self._unknown.labels("sent again").inc()
            case Acknowledge():
                self._duplicates.inc()
            case RetryAfter(failure):
                self._retried.labels(failure.rule.name).inc()
                self._count_unknown(failure, "retry")
            case DeadLetter(failure):
                self._failed.labels(failure.rule.name, str(failure.rule.retryable).lower()).inc()
                self._count_unknown(failure, "dead letter")
            case WaitForOther():
                self._retried.labels("SENDING_ELSEWHERE").inc()

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _count_unknown(self, failure: Failure, decision: str) -> None:
        if failure.certainty is Certainty.UNKNOWN:
            self._unknown.labels(decision).inc()
