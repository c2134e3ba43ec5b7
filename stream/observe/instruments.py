"""The worker's metrics for Prometheus: each is declared once, here, with its kind, unit, labels and meaning.

Whoever counts asks `Instruments` for a metric by its name; a name that is not declared does not exist. The tenant label
is bounded: ten thousand tenants must not become ten thousand time series for each metric.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

Kind = Literal["counter", "gauge", "histogram"]

OTHER: Final = "other"
RANK_EVERY_S: Final = 60.0
MOST_COUNTED: Final = 50_000  # tenants between two rankings; far above what one replica serves in a minute

# From a cached send on a fast line to a send that runs into its timeout.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 20)
# From a message that is sent at once to one that waited a day on the queue.
_AGES: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400)

# Otherwise each counter would have a second series, with the time of its making.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as Prometheus shows it.

    Attributes:
        name: Its full name; a histogram adds `_bucket`, `_sum` and `_count`.
        kind: What Prometheus does with it.
        unit: What one is.
        meaning: What it counts, and when.
        labels: The names of its labels.
        buckets: A histogram's upper bounds.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


CATALOG: Final = (
    Metric(
        "messages_consumed_total",
        "counter",
        "messages",
        "Messages taken off the queue, by what became of them: delivered, duplicate, retry, waiting (another try is "
        "sending it), dead_lettered, not_settled (the broker delivers it again).",
        ("tenant", "status"),
    ),
    Metric("messages_delivered_total", "counter", "messages", "Messages that Meta accepted.", ("tenant",)),
    Metric(
        "messages_failed_total",
        "counter",
        "messages",
        "Dead letters, by the error table's row and Meta's code; retryable says that the retries were used up.",
        ("tenant", "error_type", "error_code", "retryable"),
    ),
    Metric("messages_retried_total", "counter", "messages", "Waits for a retry, by why.", ("error_type",)),
    Metric("messages_duplicate_total", "counter", "messages", "Copies of messages that were sent before."),
    Metric(
        "messages_unknown_outcome_total",
        "counter",
        "sends",
        "Sends that got no answer, by what was done: the message may have been delivered.",
        ("decision",),
    ),
    Metric(
        "meta_api_requests_total",
        "counter",
        "requests",
        "Requests to Meta, by HTTP status; none when no answer came.",
        ("tenant", "status_code"),
    ),
    Metric(
        "message_processing_duration_seconds",
        "histogram",
        "seconds",
        "A delivered message's last try, credentials included.",
        buckets=_SECONDS,
    ),
    Metric(
        "meta_api_request_duration_seconds",
        "histogram",
        "seconds",
        "One request to Meta, whatever came of it.",
        buckets=_SECONDS,
    ),
    Metric(
        "credential_fetch_duration_seconds",
        "histogram",
        "seconds",
        "Getting a tenant's credentials: with the claim from the shared cache, or from the Tenant Service.",
        ("cached",),
        _SECONDS,
    ),
    Metric(
        "credential_fetch_failures_total",
        "counter",
        "messages",
        "Messages that got no credentials, by why.",
        ("error_type",),
    ),
    Metric(
        "message_age_seconds",
        "histogram",
        "seconds",
        "From upstream's timestamp (metadata.timestamp, else the AMQP property, else first seen) to Meta's answer.",
        buckets=_AGES,
    ),
    Metric(
        "message_oldest_age_seconds",
        "gauge",
        "seconds",
        "Age of the oldest message in flight; with a backlog this is the head of the queue.",
    ),
    Metric(
        "queue_messages",
        "gauge",
        "messages",
        "Messages on a queue: intake, waiting (all delay levels), failed.",
        ("queue",),
    ),
    Metric("messages_in_flight", "gauge", "messages", "Tries that run now."),
    Metric("redis_away", "gauge", "boolean", "1 while Redis cannot be reached and a message may be sent twice."),
    Metric(
        "redis_refused_total",
        "counter",
        "commands",
        "Commands that Redis refused because of what their key holds: their messages were sent without a record.",
    ),
    Metric("events_lost_total", "counter", "events", "Events that the broker did not confirm, and were given up."),
    Metric("worker_info", "gauge", "boolean", "1; says which version runs.", ("version",)),
)


class Instruments:
    """The declared metrics in a registry of their own, together with the process' CPU and memory.

    Args:
        tenants: How many tenants have a label of their own, `METRICS_TENANTS`.
    """

    def __init__(self, *, tenants: int = 100) -> None:
        self.tenants = TenantLabels(tenants, demoted=self._forget)
        self._registry = CollectorRegistry()
        self._made = {metric.name: _make(metric, self._registry) for metric in CATALOG}
        ProcessCollector(registry=self._registry)

    def counter(self, name: str) -> Counter:
        """A declared counter."""
        made = self._made[name]
        assert isinstance(made, Counter)  # noqa: S101 - for the type checker: the catalogue decides
        return made

    def gauge(self, name: str) -> Gauge:
        """A declared gauge."""
        made = self._made[name]
        assert isinstance(made, Gauge)  # noqa: S101 - as above
        return made

    def histogram(self, name: str) -> Histogram:
        """A declared histogram."""
        made = self._made[name]
        assert isinstance(made, Histogram)  # noqa: S101 - as above
        return made

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        self.tenants.rank()
        return generate_latest(self._registry)

    def _forget(self, tenant: str) -> None:
        for metric in CATALOG:
            if "tenant" in metric.labels:
                self._made[metric.name].remove_by_labels({"tenant": tenant})


class TenantLabels:
    """The busiest tenants by name, all others as `other`.

    Ranked when somebody reads the metrics, at most once a minute. A tenant that moves up starts a new series at zero,
    one that moves down loses its own: for Prometheus' `rate` that is a counter's ordinary reset.

    Args:
        limit: How many have a label of their own.
        demoted: Told who has lost its own.
        monotonic: Seconds.
    """

    def __init__(
        self, limit: int, *, demoted: Callable[[str], None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._demoted = demoted
        self._monotonic = monotonic
        self._ranked_at = monotonic()
        self._named: dict[str, float] = {}  # → its score at the last ranking
        self._seen: dict[str, int] = {}

    def label(self, tenant: str) -> str:
        """What to put into the tenant label, and one more for this tenant's rank."""
        seen = self._seen
        if tenant in seen:
            seen[tenant] += 1
        elif len(seen) < MOST_COUNTED:
            seen[tenant] = 1
        if tenant in self._named:
            return tenant
        if len(self._named) < self._limit:
            self._named[tenant] = 0.0
            return tenant
        return OTHER

    def rank(self) -> None:
        """Let busier tenants take the places of quieter ones."""
        now = self._monotonic()
        if now - self._ranked_at < RANK_EVERY_S:
            return
        self._ranked_at = now
        scores = {name: score / 2 + self._seen.get(name, 0) for name, score in self._named.items()}
        newcomers = sorted((name for name in self._seen if name not in scores), key=self._seen.__getitem__)
        # Twice as busy, so that two tenants of the same size do not change places every minute.
        for quiet in sorted(scores, key=scores.__getitem__):
            if not newcomers or self._seen[newcomers[-1]] <= 2 * scores[quiet]:
                break
            del scores[quiet]
            self._demoted(quiet)
            busy = newcomers.pop()
            scores[busy] = float(self._seen[busy])
        self._named = scores
        self._seen = {}


def _make(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.meaning, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)
    return Histogram(metric.name, metric.meaning, metric.labels, buckets=metric.buckets, registry=registry)
