"""Prometheus' own tool reads the configuration, runs the alerts' tests, and parses the dashboard's queries."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
SECONDS = 120


def _promtool(*arguments: str | Path) -> tuple[bool, str]:
    """Whether promtool is content, and what it says."""
    done = subprocess.run(  # noqa: S603 - the program that was found, on the project's own files
        [str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid() -> None:
    content, said = _promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert content, said


def test_the_rules_are_valid() -> None:
    content, said = _promtool("check", "rules", PROMETHEUS / "rules.yml")
    assert content, said


def test_each_alert_fires_when_it_should_and_is_silent_when_it_should_be() -> None:
    content, said = _promtool("test", "rules", PROMETHEUS / "rules_test.yml")
    assert content, said


@pytest.mark.parametrize(("kind", "expression"), [("never", "vector(0) > 1"), ("always", "vector(1)")])
def test_the_alerts_tests_find_an_alert_that_fires_never_or_always(kind: str, expression: str, tmp_path: Path) -> None:
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    for rule in alerts:
        rule["expr"] = expression
        rule.pop("for", None)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    shutil.copy(PROMETHEUS / "rules_test.yml", tmp_path)
    content, said = _promtool("test", "rules", tmp_path / "rules_test.yml")
    assert not content, kind
    assert set(re.findall(r"alertname: ?(\w+)", said)) == {rule["alert"] for rule in alerts}


def _check_queries(queries: list[str], folder: Path) -> tuple[bool, str]:
    """Let promtool parse queries of the dashboard, as rules that record them."""
    rules: list[dict[str, Any]] = [
        {
            "record": f"query_{number}",
            "expr": query.replace("$__rate_interval", "1m").replace("$job", "whatsapp-stream"),
        }
        for number, query in enumerate(queries)
    ]
    path = folder / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    return _promtool("check", "rules", path)


def test_the_dashboards_queries_are_promql(tmp_path: Path) -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    content, said = _check_queries(queries, tmp_path)
    assert content, said
    assert f"{len(queries)} rules found" in said


def test_a_query_that_is_no_promql_is_found(tmp_path: Path) -> None:
    content, said = _check_queries(["sum(up", "up"], tmp_path)
    assert not content
    assert "unclosed left parenthesis" in said
