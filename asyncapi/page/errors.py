"""The error table: every way a delivery can fail, from the rows that the worker itself decides by."""

from __future__ import annotations

from collections.abc import Iterable

from asyncapi.page.html import Html, code, join, tag
from asyncapi.page.markdown import section
from stream.meta.errors import ROWS, ErrorRule
from stream.specification.retries import decision_of, delays_of, limit_of, retries_of

_COLOURS = {"dead-letter": "bad", "wait and retry": "wait", "retry once, at once": "wait"}


def errors() -> Html:
    """The table, with a filter above it."""
    columns = ("Type and Meta's codes", "Decision", "In trouble", "Meaning and advice")
    head = tag("thead", tag("tr", *(tag("th", column) for column in columns)))
    table = tag("table", head, tag("tbody", *(_row(row) for row in ROWS)))
    intro = tag(
        "p",
        "One row a type. The worker decides by Meta's subcode, whatever the code beside it; then by the code; and by "
        "the HTTP status only where neither is known. A dead letter names the type in ",
        code("x-error-type"),
        ".",
    )
    body = join(intro, _filter(), tag("div", table, class_="table errors"))
    return section("Errors", body, "errors", "Types, codes, decision, meaning and advice")


def _filter() -> Html:
    options = [tag("option", "every decision", value=""), *(tag("option", name, value=name) for name in _COLOURS)]
    return tag(
        "div",
        tag(
            "input",
            id="error-words",
            type="search",
            placeholder="Filter: 131056, template, token …",
            aria_label="Filter",
        ),
        tag("select", *options, id="error-decision", aria_label="Decision"),
        tag("output", id="error-count"),
        class_="filter",
    )


def _row(row: ErrorRule) -> Html:
    decision = decision_of(row)
    return tag(
        "tr",
        tag("td", code(row.name), tag("small", _numbers(row), class_="codes") if row.codes else ""),
        tag("td", tag("span", decision, class_=f"chip {_COLOURS[decision]}"), _retries(row)),
        tag("td", row.scope.replace("_", " "), _told(row)),
        tag("td", row.meaning, tag("small", row.advice)),
        id=f"error-{row.name}",
        data_find=row.name,
        data_kind="error",
        data_about=row.meaning,
        data_more=" ".join(map(str, (*row.codes, *row.subcodes))),
        data_decision=decision,
    )


def _retries(row: ErrorRule) -> Html:
    if row.retry is None or row.invalidate_credentials:
        return tag("small", "with fresh credentials") if row.retry else Html("")
    count = retries_of(row)
    times = "retries" if count is None else f"{count} {'retry' if count == 1 else 'retries'}"
    return join(tag("small", f"{times}: {delays_of(row)}"), tag("small", f"limit: {limit_of(row)}"))


def _told(row: ErrorRule) -> Html:
    words = [
        word for word, is_told in (("alerts an operator", row.alert), ("notifies the tenant", row.notify)) if is_told
    ]
    return join(*(tag("small", word) for word in words))


def _numbers(row: ErrorRule) -> str:
    return "; ".join([spans(row.codes), *([f"as subcode {spans(row.subcodes)}"] if row.subcodes else [])])


def spans(codes: Iterable[int]) -> str:
    """Codes as people write them: `131000, 131016, 200 to 299`."""
    runs: list[list[int]] = []
    for number in sorted(codes):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(_run(run) for run in runs)


def _run(run: list[int]) -> str:
    longest_listed = 2
    return f"{run[0]} to {run[-1]}" if len(run) > longest_listed else ", ".join(map(str, run))
