"""The patches for libraries are still what their page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "docs" / "upstream" / "check.py"


@pytest.mark.any_servers
def test_each_patch_for_a_library_fits_the_locked_version_and_mends_what_its_test_finds() -> None:
    checked = subprocess.run([sys.executable, str(CHECK)], capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - its own script
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert len(checked.stdout.splitlines()) == 3
