"""The worker's metrics for Prometheus: each is declared once, here, with its kind, unit, labels and meaning.

Code that counts asks `Instruments` for a metric by its name; an undeclared name is an error. The number of tenant
labels is bounded: see `stream.observe.tenant_labels`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
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

from stream import __version__
from stream.observe.tenant_labels import TenantLabels

Kind = Literal["counter", "gauge", "histogram"]

# From a send with cached credentials on a fast network to a send that times out.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 20)
# From a message that is sent at once to one that waited a day on the queue.
_AGES: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400)

SERIES: Final = 10_000  # of each counter, that are found quickly

# Otherwise each counter would have a second series, with the time of its creation.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as Prometheus shows it.

    Attributes:
        name: Its full name; a histogram adds `_bucket`, `_sum` and `_count`.
        kind: What Prometheus does with it.
        unit: The unit of its values.
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
        "sending it, or it may not be tried yet), moved (to its tenant's lane), dead_lettered, not_settled (the broker "
        "delivers it again).",
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
        "messages_moved_total",
        "counter",
        "messages",
        "Messages that were moved to their tenant's lane, because the tenant had its share of the slots.",
        ("tenant",),
    ),
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
        "Messages on a queue: intake, lanes (all lanes), waiting (all delay levels), due (their time to be sent has "
        "come), failed.",
        ("queue",),
    ),
    Metric(
        "circuits_open",
        "gauge",
        "circuits",
        "Circuits that let no message through but a probe, of all replicas: every replica shows the same number.",
        ("scope",),
    ),
    Metric(
        "circuit_transitions_total",
        "counter",
        "transitions",
        "Circuits that this replica's messages have opened, half opened or closed.",
        ("scope", "to"),
    ),
    Metric(
        "messages_waiting_for_circuit_total",
        "counter",
        "waits",
        "Looks at a message that ended in a wait for a circuit: no request was made.",
    ),
    Metric(
        "messages_paced_total",
        "counter",
        "waits",
        "Waits on the broker for a message's turn, by the limit that made it wait: phone_number, tenant, pair, or "
        "redis (which is away).",
        ("limit",),
    ),
    Metric(
        "pacing_without_redis_total",
        "counter",
        "messages",
        "Messages that this replica paced by itself, or let wait (PACING_WITHOUT_REDIS), while Redis was away.",
    ),
    Metric("messages_in_flight", "gauge", "messages", "Tries that run now."),
    Metric("tenants_laned", "gauge", "tenants", "Tenants whose messages this replica moves to their lanes now."),
    Metric("redis_away", "gauge", "boolean", "1 while Redis cannot be reached and a message may be sent twice."),
    Metric(
        "messages_unrecorded_total",
        "counter",
        "messages",
        "Messages that Meta accepted and the ledger may not know, because Redis was away: a copy would be sent too.",
    ),
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
        self._forget_found: list[Callable[[], None]] = []
        ProcessCollector(registry=self._registry)
        self.gauge("worker_info").labels(__version__).set(1)

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

    def series(self, name: str) -> Callable[..., Counter]:
        """How to find a counter's series by its labels, quickly: nearly every message needs three."""
        find = lru_cache(maxsize=SERIES)(self.counter(name).labels)
        self._forget_found.append(find.cache_clear)
        return find

    def show(self, name: str, value: Callable[[], float], **labels: str) -> None:
        """Let a declared gauge call `value` whenever the metrics are read."""
        gauge = self.gauge(name)
        (gauge.labels(**labels) if labels else gauge).set_function(value)

    async def scrape(self, queues: Callable[[], Awaitable[Mapping[str, int] | None]]) -> bytes:
        """Everything in Prometheus' text format.

        Args:
            queues: Messages on each queue; `None` while RabbitMQ does not answer: then the metric is left out, because
                an old number would be wrong.
        """
        known = await queues()
        gauge = self.gauge("queue_messages")
        gauge.clear()
        for queue, messages in (known or {}).items():
            gauge.labels(queue).set(messages)
        return self.render()

    def render(self) -> bytes:
        """Everything that was counted, in Prometheus' text format."""
        self.tenants.rank()
        return generate_latest(self._registry)

    def _forget(self, tenant: str) -> None:
        for metric in CATALOG:
            if "tenant" in metric.labels:
                self._made[metric.name].remove_by_labels({"tenant": tenant})
        for forget in self._forget_found:  # a series that was found may not be shown any more
            forget()


def _make(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "counter":
        return Counter(metric.name, metric.meaning, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)
    return Histogram(metric.name, metric.meaning, metric.labels, buckets=metric.buckets, registry=registry)
