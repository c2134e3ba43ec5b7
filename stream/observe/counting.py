"""Counters and histograms that cost a message as little as possible; prometheus_client shows them.

Its own are made for many threads: each count takes a lock, each look-up of a series another one, and a histogram walks
its buckets. Everything here is counted and shown on the event loop's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Counter(Collector):
    """How often something happened, by the values of its labels.

    Args:
        name: Its full name.
        meaning: What it counts.
        labels: The names of its labels; without any it is shown from the beginning, at zero.
    """

    def __init__(self, name: str, meaning: str, labels: Labels = ()) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = labels
        self._counts: dict[Labels, int] = {} if labels else {(): 0}

    def inc(self, *labels: str) -> None:
        """Count one more, under these values of the labels."""
        counts = self._counts
        if labels not in counts:
            counts[_fitting(labels, self._labels)] = 0
        counts[labels] += 1

    def forget(self, label: str, value: str) -> None:
        """Remove the series that have this value in this label."""
        position = self._labels.index(label)
        self._counts = {labels: count for labels, count in self._counts.items() if labels[position] != value}

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What prometheus_client asks for when it shows the metric."""
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


@dataclass(slots=True)
class _Series:
    """A histogram's numbers for one set of label values.

    Attributes:
        counts: For each bucket how many fell into it and not into the one before; the last has no bound.
        total: The sum of all.
    """

    counts: list[int]
    total: float = 0.0


class Histogram(Collector):
    """How large something was, in buckets, by the values of its labels.

    Args:
        name: Its name.
        meaning: What it measures.
        bounds: The buckets' upper bounds, ascending; a bound belongs to its bucket.
        labels: The names of its labels; without any it is shown from the beginning, at zero.
    """

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...], labels: Labels = ()) -> None:
        self._name = name
        self._meaning = meaning
        self._bounds = bounds
        self._shown_bounds = [floatToGoString(bound) for bound in (*bounds, inf)]  # type: ignore[no-untyped-call]
        self._labels = labels
        self._series: dict[Labels, _Series] = {}
        if not labels:
            self.start()

    def start(self, *labels: str) -> _Series:
        """Show these values of the labels from now on, at zero."""
        return self._series.setdefault(_fitting(labels, self._labels), _Series([0] * len(self._shown_bounds)))

    def observe(self, value: float, *labels: str) -> None:
        """Count one value, under these values of the labels."""
        series = self._series.get(labels) or self.start(*labels)
        series.counts[bisect_left(self._bounds, value)] += 1
        series.total += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What prometheus_client asks for when it shows the metric."""
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        for labels, series in self._series.items():
            buckets = list(zip(self._shown_bounds, accumulate(series.counts), strict=True))
            family.add_metric(labels, buckets, series.total)
        yield family


def _fitting(values: Labels, names: Labels) -> Labels:
    if len(values) != len(names):
        raise ValueError(f"the labels are {names}: got {len(values)} values")
    return values
