"""The layers of `stream`: imports go down only, and never in a circle. The contracts are in `pyproject.toml`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from importlinter.application.use_cases import lint_imports
from importlinter.configuration import configure

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "pyproject.toml"
NAMED = re.findall(r"`([\w/]+\.py|[\w]+/)`", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
ROOMS = ("stream", "stream/delivery", "tests/unit", "tests/integration", ".")


@pytest.mark.parametrize("contract", ["layers", "circles"])
def test_every_import_keeps_the_contract(contract: str) -> None:
    configure()
    # Debug mode raises what else would only be printed, such as an ignored import that is not there any more.
    kept = lint_imports(str(PROJECT), (contract,), cache_dir=None, is_debug_mode=True, no_logo=True)
    assert kept, "the printed report names each import that is not allowed"


@pytest.mark.parametrize("name", sorted(set(NAMED)))
def test_the_page_on_architecture_names_only_what_is_there(name: str) -> None:
    assert any((ROOT / room / name).exists() for room in ROOMS)


def test_the_page_on_architecture_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [each.name for each in (ROOT / "stream").iterdir() if (each / "__init__.py").exists()]
    assert [room for room in rooms if room not in page] == []
