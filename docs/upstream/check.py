"""Checks each patch on a copy of the installed package: its test fails without the patch and passes with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent


def passes(test: Path, packages: Path) -> bool:
    """Whether a test passes with the packages of this folder before all others."""
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(test)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": str(packages)}, stdout=sys.stderr).returncode == 0


def check(folder: Path, work: Path) -> str:
    """What is wrong with one patch; nothing if it is as it must be."""
    (spec, patch, test) = find_spec(folder.name), next(folder.glob("*.patch")), next(folder.glob("test_*.py"))
    installed = Path(spec.origin).parent if spec and spec.origin else folder
    shutil.copytree(installed, work / folder.name)
    if passes(test, work):
        return "the fault is gone: its test passes without the patch"
    if subprocess.run(["git", "apply", "--unsafe-paths", str(patch)], cwd=work).returncode:
        return "the patch does not apply to the installed version"
    return "" if passes(test, work) else "the test fails with the patch"


def main() -> int:
    """Check them all."""
    found = {}
    for folder in sorted(path.parent for path in HERE.glob("*/*.patch")):
        with tempfile.TemporaryDirectory() as work:
            found[folder.name] = check(folder, Path(work))
        print(f"{folder.name}: {found[folder.name] or 'fails without the patch, passes with it'}")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
