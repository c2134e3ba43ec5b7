"""The two objects for Prometheus Operator ask and alert as the plain files do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes" / "monitoring"
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "prometheus_operator.json").read_text())
PROMETHEUS = ROOT / "deploy" / "prometheus"


def _read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


MONITOR = _read(FOLDER / "podmonitor.yaml")
RULE = _read(FOLDER / "prometheusrule.yaml")
POD = _read(ROOT / "deploy" / "kubernetes" / "deployment.yaml")["spec"]["template"]


def _validate(document: dict[str, Any]) -> None:
    kind = document["kind"]
    Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}).validate(document)


@pytest.mark.parametrize("document", [MONITOR, RULE], ids=lambda each: str(each["kind"]))
def test_the_operators_schema_accepts_it(document: dict[str, Any]) -> None:
    _validate(document)


def test_an_interval_that_the_operator_refuses_would_be_found() -> None:
    wrong = json.loads(json.dumps(MONITOR))
    wrong["spec"]["podMetricsEndpoints"][0]["interval"] = "15 s"
    with pytest.raises(ValidationError):
        _validate(wrong)


def test_the_operator_knows_the_same_alerts_as_a_plain_prometheus() -> None:
    assert RULE["spec"] == _read(PROMETHEUS / "rules.yml"), "run: make alerts (.ci/prometheus_rule.py)"


def test_the_operator_asks_each_replica_as_often_as_a_plain_prometheus() -> None:
    (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
    (container,) = POD["spec"]["containers"]
    assert endpoint["port"] in {port["name"] for port in container["ports"]}
    assert endpoint["path"] == POD["metadata"]["annotations"]["prometheus.io/path"]
    assert endpoint["interval"] == _read(PROMETHEUS / "prometheus.yml")["global"]["scrape_interval"]
    assert MONITOR["spec"]["selector"]["matchLabels"].items() <= POD["metadata"]["labels"].items()


def test_the_job_has_the_name_that_every_alert_asks_for() -> None:
    (job,) = _read(PROMETHEUS / "prometheus.yml")["scrape_configs"]
    assert POD["metadata"]["labels"][MONITOR["spec"]["jobLabel"]] == job["job_name"]


def test_both_objects_are_in_the_kustomization() -> None:
    listed = _read(FOLDER / "kustomization.yaml")["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(path.name for path in FOLDER.iterdir())
