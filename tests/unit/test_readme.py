"""The README's tables are the code's own."""

from __future__ import annotations

from pathlib import Path

import yaml

from stream.meta.errors import ROWS
from stream.operations.tables import rewritten
from stream.settings import Settings

ROOT = Path(__file__).parent.parent.parent


def test_the_readmes_tables_are_made_from_the_code() -> None:
    text = (ROOT / "README.md").read_text()
    assert rewritten(text) == text, "run: make readme"


def test_the_readme_shows_every_error_type_and_every_setting() -> None:
    text = (ROOT / "README.md").read_text()
    for name in [*(row.name for row in ROWS), *(field.upper() for field in Settings.model_fields)]:
        assert f"| `{name}` |" in text


def test_the_compose_file_sets_only_settings_that_exist() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    known = {field.upper() for field in Settings.model_fields}
    assert set(compose["services"]["worker"]["environment"]) <= known
    for service in compose["services"].values():
        assert "healthcheck" in service or service["build"]["target"] == "worker"


def test_the_compose_file_runs_three_replicas_and_publishes_on_this_machine_alone() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    worker = services["worker"]
    assert worker["deploy"] == {"replicas": 3}
    assert (worker["read_only"], worker["cap_drop"]) == (True, ["ALL"])
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
