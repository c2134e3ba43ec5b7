"""The audit never calls silence a pass: what nobody looked up is said, and fails unless the caller allows it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FLAW = {"id": "PYSEC-1", "fix_versions": ["2.0", "1.9.1"]}
CLEAN = {"name": "clean", "version": "1.0", "vulns": []}
HIT = {"name": "hit", "version": "1.0", "vulns": [FLAW, {"id": "PYSEC-2", "fix_versions": []}]}
SKIPPED = {"name": "skipped", "skip_reason": "Dependency not found on PyPI and could not be audited: skipped (1.0)"}


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AUDIT = load()


def tool(packages: list[dict[str, Any]]) -> list[str]:
    """A pip-audit that reports this, and ends well, as the real one does when it looked up nothing."""
    return [sys.executable, "-c", f"print({json.dumps({'dependencies': packages})!r})"]


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([CLEAN], 0, "no known vulnerability in 1 packages"),
        ([CLEAN, HIT], 1, "hit 1.0: PYSEC-1, fixed in 2.0, 1.9.1"),
        ([HIT], 1, "hit 1.0: PYSEC-2, fixed in none"),
        ([CLEAN, SKIPPED], 2, "NOT DONE for 1 of 2 packages, the first: Dependency not found on PyPI"),
        ([SKIPPED, HIT], 1, "NOT DONE for 1 of 2 packages"),
        ([], 2, "NOT DONE, there is no package"),
    ],
)
def test_a_report_is_read(
    packages: list[dict[str, Any]], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert AUDIT.main(["requirements.lock"], tool(packages)) == code
    heard = capsys.readouterr()
    assert said in (heard.err if code else heard.out)


def test_a_tool_that_cannot_ask_is_not_a_pass(capsys: pytest.CaptureFixture[str]) -> None:
    broken = [sys.executable, "-c", "import sys; sys.exit('Traceback\\nConnectionError: no such host')"]
    assert AUDIT.main(["requirements.lock"], broken) == 2
    assert capsys.readouterr().err == "audit: NOT DONE, pip-audit could not ask: ConnectionError: no such host\n"
    silent = [sys.executable, "-c", "raise SystemExit(3)"]
    assert AUDIT.main(["requirements.lock"], silent) == 2
    assert "pip-audit ended with 3" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "code"), [(SKIPPED, 0), (HIT, 1), (CLEAN, 0)])
def test_a_caller_may_allow_silence_but_no_vulnerability(
    package: dict[str, Any], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert AUDIT.main(["requirements.lock", "--unreachable-ok"], tool([package])) == code
    assert ("NOT DONE" in capsys.readouterr().err) == (package is SKIPPED)
