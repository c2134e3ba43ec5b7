"""The changelog has the form of Keep a Changelog, so that people and `make release` find their way in it."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
GROUPS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
VERSION = re.compile(r"## \[(Unreleased|\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}$)", re.MULTILINE)


def test_unreleased_stands_first_and_each_release_has_its_day() -> None:
    headings = re.findall(r"^## .*", TEXT, re.MULTILINE)
    assert headings[0] == "## [Unreleased]"
    assert [heading for heading in headings if not VERSION.match(heading)] == []


def test_each_group_of_changes_has_a_known_name_and_stands_once_in_a_fixed_order() -> None:
    for release in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        groups = re.findall(r"^### (.*)", release, re.MULTILINE)
        assert groups == [group for group in GROUPS if group in groups]


def test_each_change_is_one_line_under_a_group() -> None:
    for group in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]:
        lines = [line for line in group.splitlines()[1:] if line and not line.startswith("## ")]
        assert lines
        assert [line for line in lines if not line.startswith("- ")] == []
