"""What is wrong with a PromQL query, judged by the metrics that the worker declares.

Not a parser of the language (promtool is one): it finds each name, decides what kind of name it is, and compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol


class Declared(Protocol):
    """One metric, as the worker declares it."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Series:
    """One name that a query may use."""

    labels: frozenset[str]
    counts_up: bool


TARGET_LABELS: Final = frozenset({"job", "instance"})  # Prometheus adds them
# What Prometheus itself and its client library report of every process.
GIVEN: Final = {
    "up": Series(TARGET_LABELS, counts_up=False),
    "process_cpu_seconds_total": Series(TARGET_LABELS, counts_up=True),
    "process_resident_memory_bytes": Series(TARGET_LABELS, counts_up=False),
    "process_start_time_seconds": Series(TARGET_LABELS, counts_up=False),
}

_AGGREGATIONS: Final = frozenset(
    {"sum", "min", "max", "avg", "count", "topk", "bottomk", "group", "quantile", "stddev"}
)
_LABEL_LISTS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS: Final = frozenset({"and", "or", "unless", "offset", "bool", "inf", "nan"})
_COUNTER_FUNCTIONS: Final = frozenset({"rate", "irate", "increase", "resets"})
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
    |(?P<range>\[[^\]]*\])
    |(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+|(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*)?)
    |(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)
    |(?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},@])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def series_of(catalog: Iterable[Declared]) -> dict[str, Series]:
    """Every name that a query may use; a histogram has three, and none that is its own."""
    found = dict(GIVEN)
    for metric in catalog:
        labels = TARGET_LABELS | set(metric.labels)
        if metric.kind == "histogram":
            found[metric.name + "_bucket"] = Series(labels | {"le"}, counts_up=True)
            found[metric.name + "_sum"] = Series(labels, counts_up=True)
            found[metric.name + "_count"] = Series(labels, counts_up=True)
        else:
            found[metric.name] = Series(labels, counts_up=metric.kind == "counter")
    return found


def metric_names(query: str) -> set[str]:
    """The names of the metrics in a query."""
    return {name for name, _ in _metrics(_tokens(query))}


def shown_labels(query: str) -> set[str]:
    """The labels that a query's result may have, as far as its text names them: those that it groups by."""
    tokens = _tokens(query)
    return {label for at, token in enumerate(tokens) if token.text == "by" for label in _list(tokens, at + 1)}


def aggregates(query: str) -> bool:
    """Whether a query puts series together, so that only labels that it groups by are left."""
    return any(token.kind == "name" and token.text in _AGGREGATIONS for token in _tokens(query))


def complaints(query: str, known: Mapping[str, Series]) -> list[str]:
    """Everything that is wrong with a query: names, labels, and functions on the wrong kind of metric."""
    tokens = _tokens(query)
    metrics = list(_metrics(tokens))
    found = [f"{name} is not declared" for name, _ in metrics if name not in known]
    if not metrics:
        found.append("no metric is named")
    for name, at in metrics:
        if name in known:
            found += [f"{name} has no label {label}" for label in _matched(tokens, at + 1) - known[name].labels]
    for at, token in enumerate(tokens):
        if token.kind != "name" or _text(tokens, at + 1) != "(":
            continue
        if token.text in _LABEL_LISTS:
            inside = _operand(tokens, at) if token.text in {"by", "without"} else (-1, len(tokens))
            each = token.text == "by"
            found += _ungroupable(_list(tokens, at + 1), _between(metrics, inside), known, each=each)
        elif token.text in _COUNTER_FUNCTIONS:
            inside = (at + 1, _closing(tokens, at + 1))
            found += [
                f"{token.text} of {name}, which does not count up"
                for name in _between(metrics, inside)
                if name in known and not known[name].counts_up
            ]
    return found


def _tokens(query: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(query):
        found = _TOKEN.match(query, at)
        if not found:
            raise ValueError(f"not PromQL at {query[at:]!r}")
        at = found.end()
        if found.lastgroup and found.lastgroup != "space":
            tokens.append(_Token(found.lastgroup, found.group()))
    for at, token in enumerate(tokens):
        if token.text == "(":
            _closing(tokens, at)
    return tokens


def _metrics(tokens: list[_Token]) -> Iterator[tuple[str, int]]:
    """Each metric's name and its place: a name that is no label, no function and no word of the language."""
    inside = False
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token.text in {"{", "}"}:
            inside = token.text == "{"
        elif token.kind == "name" and not inside:
            if token.text in _LABEL_LISTS and _text(tokens, at + 1) == "(":
                at = _closing(tokens, at + 1)
            elif _text(tokens, at + 1) != "(" and token.text not in _WORDS | _AGGREGATIONS | _LABEL_LISTS:
                yield token.text, at
        at += 1


def _matched(tokens: list[_Token], at: int) -> set[str]:
    """The labels between the braces that begin at `at`, if any do."""
    labels: set[str] = set()
    if _text(tokens, at) == "{":
        while _text(tokens, at) not in {"}", ""}:
            at += 1
            if at < len(tokens) and tokens[at].kind == "name":
                labels.add(tokens[at].text)
    return labels


def _ungroupable(labels: list[str], names: list[str], known: Mapping[str, Series], *, each: bool) -> Iterator[str]:
    """Labels that every metric should have (`each`), or at least one, and that it has not."""
    series = {name: known[name] for name in names if name in known}
    for label in labels:
        lacking = [name for name, one in series.items() if label not in one.labels]
        if lacking and (each or len(lacking) == len(series)):
            yield f"{', '.join(lacking)} has no label {label} to group by"


def _operand(tokens: list[_Token], at: int) -> tuple[int, int]:
    """Where the operand of the aggregation is whose `by` or `without` is at `at`: behind the labels, or before."""
    behind = _closing(tokens, at + 1) + 1
    if _text(tokens, behind) == "(":
        return behind, _closing(tokens, behind)
    depth, start = 0, at - 1
    while start >= 0:
        depth += {")": 1, "(": -1}.get(tokens[start].text, 0)
        if not depth:
            break
        start -= 1
    return start, at


def _list(tokens: list[_Token], at: int) -> list[str]:
    if _text(tokens, at) != "(":
        return []
    return [token.text for token in tokens[at : _closing(tokens, at)] if token.kind == "name"]


def _between(metrics: list[tuple[str, int]], place: tuple[int, int]) -> list[str]:
    return [name for name, at in metrics if place[0] < at < place[1]]


def _closing(tokens: list[_Token], at: int) -> int:
    """Where the parenthesis that opens at `at` closes."""
    depth = 0
    for place in range(at, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[place].text, 0)
        if not depth:
            return place
    raise ValueError("a parenthesis is not closed")


def _text(tokens: list[_Token], at: int) -> str:
    return tokens[at].text if at < len(tokens) else ""
