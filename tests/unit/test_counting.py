"""Our counters and histograms show what prometheus_client's own would show."""

from __future__ import annotations

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from stream.observe.counting import Counter, Histogram

BOUNDS = (0.01, 0.5, 1, 86_400)
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

labels = st.text(max_size=3)
values = st.sampled_from([0, 0.01, 0.5, 1, 86_400]) | st.floats(0, 1e6)


def shown(*metrics: Counter | Histogram) -> str:
    registry = CollectorRegistry()
    for metric in metrics:
        registry.register(metric)
    return generate_latest(registry).decode()


@given(counted=st.lists(st.tuples(labels, labels)))
def test_a_counter_shows_what_the_librarys_own_shows(counted: list[tuple[str, str]]) -> None:
    registry = CollectorRegistry()
    own = prometheus_client.Counter("messages_total", "Messages.", ("tenant", "status"), registry=registry)
    plain = prometheus_client.Counter("lost_total", "Lost.", registry=registry)
    ours, ours_plain = Counter("messages_total", "Messages.", ("tenant", "status")), Counter("lost_total", "Lost.")
    for tenant, status in counted:
        own.labels(tenant, status).inc()
        ours.inc(tenant, status)
        plain.inc()
        ours_plain.inc()
    assert shown(ours, ours_plain) == generate_latest(registry).decode()


@given(observed=st.lists(st.tuples(labels, values)))
def test_a_histogram_shows_what_the_librarys_own_shows(observed: list[tuple[str, float]]) -> None:
    registry = CollectorRegistry()
    own = prometheus_client.Histogram("fetch_seconds", "Fetch.", ("cached",), buckets=BOUNDS, registry=registry)
    plain = prometheus_client.Histogram("age_seconds", "Age.", buckets=BOUNDS, registry=registry)
    ours, ours_plain = (
        Histogram("fetch_seconds", "Fetch.", BOUNDS, ("cached",)),
        Histogram("age_seconds", "Age.", BOUNDS),
    )
    for cached, value in observed:
        own.labels(cached).observe(value)
        ours.observe(value, cached)
        plain.observe(value)
        ours_plain.observe(value)
    assert shown(ours, ours_plain) == generate_latest(registry).decode()


def test_a_forgotten_value_takes_all_its_series_with_it_and_starts_again_at_zero() -> None:
    counter = Counter("messages_total", "Messages.", ("status", "tenant"))
    for tenant in ("acme", "acme", "other"):
        counter.inc("delivered", tenant)
    counter.inc("retry", "acme")
    counter.forget("tenant", "acme")
    assert "acme" not in shown(counter)
    counter.inc("delivered", "acme")
    assert 'messages_total{status="delivered",tenant="acme"} 1.0' in shown(counter)
    assert 'messages_total{status="delivered",tenant="other"} 1.0' in shown(counter)


def test_started_labels_are_shown_before_anything_is_counted_and_stay() -> None:
    histogram = Histogram("fetch_seconds", "Fetch.", BOUNDS, ("cached",))
    histogram.start("true")
    assert 'fetch_seconds_count{cached="true"} 0.0' in shown(histogram)
    histogram.observe(2, "true")
    histogram.start("true")
    assert 'fetch_seconds_sum{cached="true"} 2.0' in shown(histogram)


def test_labels_that_are_not_the_declared_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="status"):
        Counter("messages_total", "Messages.", ("tenant", "status")).inc("acme")
    with pytest.raises(ValueError, match="cached"):
        Histogram("fetch_seconds", "Fetch.", BOUNDS, ("cached",)).observe(1)
