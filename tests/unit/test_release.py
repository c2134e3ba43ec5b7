"""A release is whole or not at all: it refuses with every reason, and a step that fails leaves everything as it was."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from stream import __version__

ROOT = Path(__file__).parents[2]
DAY = "2026-11-28"
GOOD: tuple[str, str, list[str], str, str] = ("0.2.0", "0.1.0", ["v0.1.0"], "- a change", "")


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RELEASE = load()


def git(where: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=where, check=True, capture_output=True, text=True).stdout  # noqa: S603 - git itself


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of only the files that a release writes to."""
    for variable in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{variable}_NAME", "A")
        monkeypatch.setenv(f"GIT_{variable}_EMAIL", "a@example.org")
    root = tmp_path / "checkout"
    for name in (*RELEASE.PLACES, RELEASE.CHANGELOG, ".gitignore"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((ROOT / name).read_bytes())
    git(root.parent, "init", "--quiet", "--initial-branch=main", str(root))
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "Start")
    return root


def state(root: Path) -> tuple[str, ...]:
    commands = (["rev-parse", "HEAD"], ["tag"], ["status", "--porcelain"], ["worktree", "list"], ["branch"])
    return tuple(git(root, *command) for command in commands)


def generate(tree: Path) -> None:
    """In place of the contract's files."""
    (tree / "Dockerfile").write_text((tree / "Dockerfile").read_text() + "# made again\n")


def build(tree: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "whatsapp_stream.whl").write_text((tree / RELEASE.NUMBER).read_text())


def test_nothing_stands_against_a_newer_version_with_changes_from_a_clean_tree() -> None:
    assert RELEASE.refusals(*GOOD) == []


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, "0.2", "'0.2' is not a version such as 0.1.0"),
        (0, "v0.2.0", "'v0.2.0' is not a version such as 0.1.0"),
        (0, "0.0.9", "0.0.9 is below 0.1.0, which the code has"),
        (2, ["v0.2.0"], "there is a tag v0.2.0"),
        (3, "", "CHANGELOG.md has nothing under Unreleased"),
        (4, " M stream/app.py", "there are changes that are not committed:\n M stream/app.py"),
    ],
)
def test_it_refuses_and_says_why(place: int, value: object, reason: str) -> None:
    asked = [value if place == position else good for position, good in enumerate(GOOD)]
    assert RELEASE.refusals(*asked) == [reason]


def test_it_says_all_reasons_at_once() -> None:
    assert len(RELEASE.refusals("1", "0.1.0", ["v1"], "", "?? new.py")) == 4


def test_numbers_are_compared_as_numbers_and_the_first_release_may_keep_its_number() -> None:
    assert RELEASE.refusals("0.10.0", "0.9.0", [], "- a change", "") == []
    assert RELEASE.refusals("0.1.0", "0.1.0", [], "- a change", "") == []


def test_the_unreleased_changes_get_the_version_and_the_day() -> None:
    before = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- new\n\n## [0.1.0] - 2026-01-01\n\n### Added\n\n- old\n"
    after = RELEASE.released(before, "0.2.0", DAY)
    assert RELEASE.unreleased(before) == "### Added\n\n- new"
    assert RELEASE.unreleased(after) == ""
    assert after == before.replace("## [Unreleased]\n", f"## [Unreleased]\n\n## [0.2.0] - {DAY}\n")


def test_a_longer_number_is_left_alone() -> None:
    assert RELEASE.renumbered("0.1.0, 0.1.0. 10.1.0 0.1.0.1 0.1.01", "0.1.0", "0.2.0") == (
        "0.2.0, 0.2.0. 10.1.0 0.1.0.1 0.1.01"
    )


def test_a_place_without_the_number_is_found() -> None:
    with pytest.raises(ValueError, match=r"0\.1\.0 is not there"):
        RELEASE.renumbered("0.1.1", "0.1.0", "0.2.0")


def test_no_place_with_the_number_is_forgotten() -> None:
    folders = [*ROOT.glob("*"), *(ROOT / "stream").rglob("*.py"), *(ROOT / "deploy").rglob("*"), *ROOT.glob("docs/*")]
    kinds = {"", ".md", ".py", ".toml", ".yaml", ".yml"}
    texts = [path for path in folders if path.is_file() and path.suffix in kinds and path.name[0] != "."]
    whole = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?!\d|\.\d)")
    found = {str(path.relative_to(ROOT)) for path in texts if whole.search(path.read_text())}
    assert found - {RELEASE.CHANGELOG} == set(RELEASE.PLACES)


def test_a_release_moves_the_branch_to_a_tagged_commit_with_the_number_everywhere(checkout: Path) -> None:
    assert RELEASE.look(checkout, "0.2.0") == []
    RELEASE.release(checkout, "0.2.0", DAY, generate=generate, build=build)
    assert git(checkout, "describe", "--exact-match").strip() == "v0.2.0"
    assert git(checkout, "branch", "--show-current").strip() == "main"
    assert git(checkout, "status", "--porcelain") == ""
    for name in RELEASE.PLACES:
        assert RELEASE.renumbered((checkout / name).read_text(), "0.2.0", __version__)
    assert f"## [Unreleased]\n\n## [0.2.0] - {DAY}\n" in (checkout / RELEASE.CHANGELOG).read_text()
    assert (checkout / "Dockerfile").read_text().endswith("# made again\n")
    assert '"0.2.0"' in (checkout / "dist" / "whatsapp_stream.whl").read_text()
    assert "### Added" in git(checkout, "tag", "--list", "--format=%(contents)", "v0.2.0")
    assert RELEASE.look(checkout, "0.2.0") == ["there is a tag v0.2.0", "CHANGELOG.md has nothing under Unreleased"]


def test_a_wheel_that_does_not_install_leaves_everything_as_it_was(checkout: Path) -> None:
    def fail(_tree: Path, _folder: Path) -> None:
        raise subprocess.CalledProcessError(1, ["twine", "check"])

    before = state(checkout)
    with pytest.raises(subprocess.CalledProcessError):
        RELEASE.release(checkout, "0.2.0", DAY, generate=generate, build=fail)
    assert state(checkout) == before
    assert not (checkout / "dist").exists()


def test_a_file_that_is_not_committed_stops_it(checkout: Path) -> None:
    (checkout / "new.py").write_text("")
    (reason,) = RELEASE.look(checkout, "0.2.0")
    assert "?? new.py" in reason
