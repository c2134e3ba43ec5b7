"""The alerts and the dashboard ask for what the worker tells, and for nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.meta.errors import ROWS
from stream.observe.instruments import CATALOG
from tests.unit.promql import aggregates, complaints, metric_names, series_of, shown_labels

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
KNOWN = series_of(CATALOG)
ERROR_TYPES = {row.name for row in ROWS}


def _read(name: str) -> Any:
    return yaml.safe_load((PROMETHEUS / name).read_text())


RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in _read("rules.yml")["groups"] for rule in group["rules"]
}
TESTS: list[dict[str, Any]] = [case for test in _read("rules_test.yml")["tests"] for case in test["alert_rule_test"]]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def _queries() -> Iterator[tuple[str, str]]:
    for alert, rule in RULES.items():
        yield alert, rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]


QUERIES = list(_queries())
each_query = pytest.mark.parametrize("query", [query for _, query in QUERIES], ids=[name for name, _ in QUERIES])
each_alert = pytest.mark.parametrize("alert", RULES)
each_panel = pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])


@each_query
def test_a_query_asks_for_declared_metrics_and_labels(query: str) -> None:
    assert complaints(query, KNOWN) == []


@each_query
def test_a_query_asks_for_the_worker_alone(query: str) -> None:
    # The names are short, and another service's queue_messages must not wake anybody.
    selectors = re.findall(r"\{([^}]*)\}", query)
    assert selectors
    assert all('job="whatsapp-stream"' in each or 'job="$job"' in each for each in selectors)
    assert len(re.findall(r"\b(?:" + "|".join(metric_names(query)) + r")\b", query)) == len(selectors)


@each_query
def test_an_error_type_that_a_query_names_is_in_the_table(query: str) -> None:
    assert set(re.findall(r'error_type!?="([^"]*)"', query)) <= ERROR_TYPES


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("message_delivered_total > 0", "message_delivered_total is not declared"),
        ("rate(messages_delivered[5m])", "messages_delivered is not declared"),
        ("sum(rate(message_age_seconds[5m]))", "message_age_seconds is not declared"),
        ('queue_messages{name="intake"}', "queue_messages has no label name"),
        ('redis_away{job="x",tenant=~"a|b"}', "redis_away has no label tenant"),
        ('up{job="x"} == 1 and on (job) quue_messages{queue="up"}', "quue_messages is not declared"),
        ("sum by (type) (messages_delivered_total)", "messages_delivered_total has no label type to group by"),
        ("sum(messages_delivered_total) by (type)", "messages_delivered_total has no label type to group by"),
        (
            "sum by (tenant) (messages_delivered_total) / sum by (tenant) (messages_duplicate_total)",
            "messages_duplicate_total has no label tenant to group by",
        ),
        ("up unless on (pod) redis_away", "up, redis_away has no label pod to group by"),
        ("sum by (le) (message_age_seconds_count)", "message_age_seconds_count has no label le to group by"),
        ("increase(messages_in_flight[5m])", "increase of messages_in_flight, which does not count up"),
        ("process_cpu_seconds > 1", "process_cpu_seconds is not declared"),
        ('{job="x"}', "no metric is named"),
        ("vector(1)", "no metric is named"),
    ],
)
def test_a_bad_query_is_found(query: str, complaint: str) -> None:
    assert complaint in complaints(query, KNOWN)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("sum by (tenant) (rate(messages_delivered_total[1h30m] offset 1d)) > 1e3", {"messages_delivered_total"}),
        ('messages_failed_total{error_type="up{} or redis_away"} # up', {"messages_failed_total"}),
        ("histogram_quantile(0.9, sum(message_age_seconds_bucket) by (le))", {"message_age_seconds_bucket"}),
        ("topk(3, up) or -redis_away and on (job) group_left () worker_info", {"up", "redis_away", "worker_info"}),
        ("rate(events_lost_total[$__rate_interval])", {"events_lost_total"}),
    ],
)
def test_only_metrics_are_taken_for_metrics(query: str, names: set[str]) -> None:
    assert metric_names(query) == names
    assert complaints(query, KNOWN) == []


def test_what_is_no_query_is_refused() -> None:
    with pytest.raises(ValueError, match="not PromQL"):
        complaints("up ? redis_away", KNOWN)
    with pytest.raises(ValueError, match="not closed"):
        complaints("sum(up", KNOWN)


@each_alert
def test_an_alert_says_how_bad_it_is_and_what_to_do_first(alert: str) -> None:
    rule = RULES[alert]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert "First: " in rule["annotations"]["description"]


@each_alert
def test_an_alert_names_labels_that_it_has(alert: str) -> None:
    rule = RULES[alert]
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert named <= _labels_of(rule["expr"])


@each_alert
def test_an_alert_is_tested_both_ways(alert: str) -> None:
    cases = [case for case in TESTS if case["alertname"] == alert]
    assert any(case.get("exp_alerts") for case in cases)
    assert any(not case.get("exp_alerts") for case in cases)


def test_no_test_is_of_an_alert_that_does_not_exist() -> None:
    # promtool takes such a test for a silent alert.
    assert {case["alertname"] for case in TESTS} == set(RULES)


def test_the_runbook_has_every_alert() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert rows == [(alert, rule["labels"]["severity"]) for alert, rule in RULES.items()]


def test_the_page_of_symptoms_names_every_alert() -> None:
    table = (DEPLOY.parent / "docs" / "operate.md").read_text().split("## ", 1)[0]
    assert {name for name in re.findall(r"`(\w+)`", table) if name in RULES} == set(RULES)


def test_prometheus_asks_the_workers_port_under_the_name_that_the_rules_know() -> None:
    (job,) = _read("prometheus.yml")["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert job["job_name"] == "whatsapp-stream"
    assert (discovery["names"], discovery["type"], discovery["port"]) == (["worker"], "A", 8081)


@each_panel
def test_a_legend_names_labels_that_its_query_leaves(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= _labels_of(target["expr"])


@each_panel
def test_a_panel_asks_the_data_source_that_was_chosen(panel: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [chosen] * (
        1 + len(panel["targets"])
    )


def test_the_dashboards_variables_exist_and_find_something() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"]))) - {"__rate_interval"}
    assert used == set(variables) == {"datasource", "job"}
    found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["job"]["query"]["query"])
    assert found
    assert found[2] in KNOWN[found[1]].labels


def test_panels_have_an_id_of_their_own_and_do_not_overlap() -> None:
    places = Counter(panel["id"] for panel in DASHBOARD["panels"])
    assert set(places.values()) == {1}
    cells: Counter[tuple[int, int]] = Counter()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells.update((at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"]))
    assert set(cells.values()) == {1}


def test_grafana_finds_the_data_source_and_the_dashboard() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "dashboards.yml").read_text())["providers"]
    assert (provider["type"], provider["options"]["path"]) == ("file", "/etc/grafana/dashboards")


def _labels_of(query: str) -> set[str]:
    """The labels that a query's result has: those that it groups by, or all that its metrics have."""
    if aggregates(query):
        return shown_labels(query)
    return set().union(*(KNOWN[name].labels for name in metric_names(query)))
