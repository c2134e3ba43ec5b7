"""What contributors are told is what the project does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def _recipe(target: str) -> list[str]:
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip() for line in found.splitlines()]


def test_the_hooks_are_what_make_check_runs_and_come_from_nowhere_else() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    entries = [hook["entry"].replace(".venv/bin", "$(BIN)") for hook in repository["hooks"]]
    assert entries == _recipe("check")


def test_a_benchmark_looks_first_for_the_python_of_the_image() -> None:
    (image,) = re.findall(r"^FROM python:(3\.\d+)-slim", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    (looked_for,) = re.findall(r"^BENCH_PYTHON \?= \$\(shell for each in (\S+)", MAKEFILE, re.MULTILINE)
    assert looked_for == f"python{image}"


def test_contributing_fits_on_a_page_and_has_the_recipes_of_the_architecture() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    recipes = (ROOT / "docs" / "architecture.md").read_text().split("## Recipes")[1].split("\n## ")[0]
    named = re.findall(r"^\d\. \*\*(?:An|A) (.*?)\*\*", text, re.MULTILINE)
    assert named == [row.split(" ", 1)[1] for row in re.findall(r"^\| (an? .*?) \|", recipes, re.MULTILINE)]
    assert len(text.splitlines()) <= 80


@pytest.mark.parametrize("form", [form for form in FORMS if form.name != "config.yml"], ids=lambda form: str(form.name))
def test_a_form_that_may_hold_an_answer_or_a_log_asks_for_no_secrets(form: Path) -> None:
    text = form.read_text()
    assert "render: json" not in text or "No tokens" in text
