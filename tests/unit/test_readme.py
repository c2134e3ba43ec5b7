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
