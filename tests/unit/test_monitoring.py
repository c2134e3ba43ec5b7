"""Alerts and dashboards ask only for what the worker exposes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.observe.metrics import CATALOG

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
TESTS = DEPLOY / "prometheus" / "rules_test.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"

PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
TARGET_LABELS = {"job", "instance"}
WORDS = {"by", "on", "and", "le", *(label for metric in CATALOG for label in metric.labels), *TARGET_LABELS}
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")


def exposed() -> dict[str, set[str]]:
    """Every series that can be asked for, with its labels."""
    series = {name: set[str]() for name in PROCESS | {"up"}}
    for metric in CATALOG:
        if metric.kind == "histogram":
            series |= {metric.name + suffix: set(metric.labels) for suffix in ("_sum", "_count")}
            series[metric.name + "_bucket"] = {*metric.labels, "le"}
        else:
            series[metric.name] = set(metric.labels)
    return series


def unknown(query: str) -> set[str]:
    """Names of series and labels in a query that nothing exposes."""
    bare = re.sub(r'"[^"]*"', '""', query)
    bare = re.sub(r"\[[^\]]*\]", "", bare)  # ranges
    found, series = set[str](), exposed()
    asked = set[str]()
    for name in re.findall(r"[a-zA-Z_]\w*(?![\w]*\s*\()", re.sub(r"\{[^}]*\}|\b(?:by|on)\s*\([^)]*\)", "", bare)):
        if name in series:
            asked.add(name)
        elif name not in WORDS:
            found.add(name)
    known = TARGET_LABELS.union(*(series[name] for name in asked))
    labels = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", "".join(re.findall(r"\{[^}]*\}", bare)))
    labels += [each.strip() for group in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", bare) for each in group.split(",")]
    return found | (set(labels) - known)


def alerts() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


def queries() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("rate(messages_invented_total[5m])", {"messages_invented_total"}),
        ("sum by (colour) (rate(messages_delivered_total[5m]))", {"colour"}),
        ('queue_messages{kind="intake"}', {"kind"}),
        ("message_age_seconds", {"message_age_seconds"}),
        ("sum(message_age_seconds_count) > 0.05 and max(redis_away) == 1", set()),
        ('histogram_quantile(0.5, sum by (le) (rate(message_age_seconds_bucket{job="x"}[$__rate_interval])))', set()),
    ],
)
def test_a_name_that_nothing_exposes_is_found(query: str, names: set[str]) -> None:
    assert unknown(query) == names


def test_alerts_ask_only_for_what_is_exposed_and_say_what_to_do() -> None:
    rules = list(alerts())
    assert len(rules) >= 8
    for rule in rules:
        assert unknown(rule["expr"]) == set(), rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")


def test_every_alert_is_tested_both_ways() -> None:
    cases = [case for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    for rule in alerts():
        of_rule = [case for case in cases if case["alertname"] == rule["alert"]]
        assert any("exp_alerts" in case for case in of_rule), rule["alert"]
    quiet = {case["alertname"] for case in cases if "exp_alerts" not in case}
    assert quiet >= {rule["alert"] for rule in alerts()} - {"ReplicaDown", "CredentialFetchFailures"}


def test_the_dashboard_asks_only_for_what_is_exposed() -> None:
    found = list(queries())
    assert len(found) > 20
    assert {query: unknown(query) for query in found if unknown(query)} == {}


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(queries())
    assert [metric.name for metric in CATALOG if metric.name not in shown] == []


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("test", "rules", TESTS),
        ("check", "rules", RULES),
        ("check", "config", DEPLOY / "prometheus" / "prometheus.yml"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_promtool_agrees(arguments: tuple[Any, ...]) -> None:
    command = [shutil.which("promtool") or "", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - its own files
    assert done.returncode == 0, done.stdout + done.stderr
