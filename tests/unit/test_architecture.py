"""The layers of `stream`: imports go down only, and never in a circle. The contracts are in `pyproject.toml`."""

from __future__ import annotations

from pathlib import Path

import pytest
from importlinter.application.use_cases import lint_imports
from importlinter.configuration import configure

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize("contract", ["layers", "circles"])
def test_every_import_keeps_the_contract(contract: str) -> None:
    configure()
    # Debug mode raises what else would only be printed, such as an ignored import that is not there any more.
    kept = lint_imports(str(PROJECT), (contract,), cache_dir=None, is_debug_mode=True, no_logo=True)
    assert kept, "the printed report names each import that is not allowed"
