"""The Compose file: settings that exist, ports on this machine alone, and the versions that are tested."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

from stream.settings import Settings

ROOT = Path(__file__).parent.parent.parent


def test_the_compose_file_sets_only_settings_that_exist() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    known = {field.upper() for field in Settings.model_fields}
    assert set(compose["services"]["worker"]["environment"]) <= known
    for service in compose["services"].values():
        assert "healthcheck" in service or service["build"]["target"] == "worker"


def test_the_compose_file_runs_three_replicas_and_publishes_on_this_machine_alone() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    worker = services["worker"]
    assert worker["deploy"]["replicas"] == 3
    assert (worker["read_only"], worker["cap_drop"]) == (True, ["ALL"])
    assert [each.partition(":")[0] for each in worker["tmpfs"]] == ["/tmp"]  # noqa: S108 - for the operator's commands
    assert (
        int(worker["stop_grace_period"].removesuffix("s")) * 1000 > Settings.model_fields["shutdown_grace_ms"].default
    )
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) >= 7
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []
    assert [name for name, service in services.items() if service.get("profiles") == ["monitoring"]] == [
        "prometheus",
        "grafana",
    ]


def test_images_are_pinned_to_a_minor_version_and_the_upgrade_page_names_the_tested_ones() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    images = dict(service["image"].rsplit(":", 1) for service in services.values() if "image" in service)
    assert all(re.match(r"v?\d+\.\d+", tag) for tag in images.values())
    pythons = set(re.findall(r"^FROM python:(\d+\.\d+)-slim", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    rabbitmq, redis = (re.sub("-.*", "", images[name]) for name in ("rabbitmq", "redis"))
    row = rf"\| Debian sid \| {re.escape(rabbitmq)}\.\d+ \| {re.escape(redis)} \| {pythons.pop()} \| the whole suite"
    assert not pythons
    assert re.search(row, (ROOT / "docs" / "upgrade.md").read_text())


def test_the_pythons_that_are_named_are_those_of_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [each.rsplit(" ", 1)[1] for each in project["classifiers"] if "Python ::" in each]
    tested = re.findall(r"^\| Debian .*?\| (3\.\d+) \|", (ROOT / "docs" / "upgrade.md").read_text(), re.MULTILINE)
    assert named == sorted(tested, key=lambda version: int(version.removeprefix("3.")))
