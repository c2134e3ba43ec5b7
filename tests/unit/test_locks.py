"""The lock files: whole, without addresses, and true to the bounds in pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TEST_TOOLS = PROJECT["dependency-groups"]["test"]
BOUND = re.compile(r"(?P<name>[a-z0-9-]+)(?:\[[a-z,]+\])?>=(?P<lowest>[0-9.]+)(?:,<[0-9.]+)?(?:; .+)?")
PINNED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9a-z.]*)(?: ; .+?)?(?P<hashes>(?: --hash=\S+)+)")
HASH = re.compile(r"sha256:[0-9a-f]{64}")


def requirements(lock: Path) -> list[str]:
    return lock.read_text().replace(" \\\n   ", "").splitlines()


def release(version: str) -> tuple[int, ...]:
    """A version to compare: 2.11 and 2.11.0 are the same."""
    numbers = [int(part) for part in version.split(".")]
    while numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def test_all_locks_are_looked_at() -> None:
    names = {lock.name.removeprefix("requirements").removesuffix(".lock") for lock in LOCKS}
    assert names >= {"", "-audit", "-build", "-dev", "-lowest", "-tools"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_holds_pinned_versions_and_hashes_and_nothing_else(lock: Path) -> None:
    lines = requirements(lock)
    assert lines
    for line in lines:  # no address, no option, no comment that names the registry of whoever made the lock
        pinned = PINNED.fullmatch(line)
        assert pinned, line
        assert all(HASH.fullmatch(each) for each in pinned["hashes"].removeprefix(" --hash=").split(" --hash=")), line


@pytest.mark.parametrize("requirement", [*PROJECT["project"]["dependencies"], *TEST_TOOLS])
def test_the_lowest_version_that_is_allowed_is_the_one_that_is_tested(requirement: str) -> None:
    bound = BOUND.fullmatch(requirement)
    assert bound, requirement
    pinned = filter(None, map(PINNED.fullmatch, requirements(ROOT / "requirements-lowest.lock")))
    tested = {each["name"]: each["version"] for each in pinned}
    assert release(tested[bound["name"]]) == release(bound["lowest"]), "run make lock"


def test_what_the_image_installs_can_trace() -> None:
    assert "opentelemetry-exporter-otlp-proto-http==" in (ROOT / "requirements.lock").read_text()
    assert "-r requirements.lock" in (ROOT / "Dockerfile").read_text()
