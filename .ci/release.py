"""Release a version: number, changelog, contract, a proven sdist and wheel in `dist/`, a commit and a tag.

`release.py 0.2.0` works in a git worktree of its own. Only when every step has succeeded does the branch move to the
new commit; a failure leaves branch, tags and files as they were. Nothing is pushed or uploaded.

Exit codes: 0 released; 1 refused, with every reason, or a step failed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
NUMBER: Final = "stream/__init__.py"
# Where else the number stands. What is made from the code is made again.
PLACES: Final = (
    NUMBER,
    "Dockerfile",
    "deploy/README.md",
    "deploy/kubernetes/kustomization.yaml",
    "deploy/overlay/kustomization.yaml",
)
CHANGELOG: Final = "CHANGELOG.md"
UNRELEASED: Final = "## [Unreleased]\n"

VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


def unreleased(changelog: str) -> str:
    """The changes that no version has yet."""
    return changelog.split(UNRELEASED, 1)[1].split("\n## [", 1)[0].strip()


def released(changelog: str, version: str, day: str) -> str:
    """The changelog with its unreleased changes under a version and a day."""
    return changelog.replace(UNRELEASED, f"{UNRELEASED}\n## [{version}] - {day}\n", 1)


def renumbered(text: str, old: str, new: str) -> str:
    """A text with one version in place of another, and no part of a longer number touched.

    Raises:
        ValueError: The old version is not there.
    """
    changed, count = re.subn(rf"(?<![\d.]){re.escape(old)}(?!\d|\.\d)", new, text)
    if not count:
        raise ValueError(f"{old} is not there to be replaced")
    return changed


def number(code: str) -> str:
    """The version that the package has."""
    (found,) = re.findall(r'^__version__ = "(.+)"$', code, re.MULTILINE)
    return str(found)


def refusals(version: str, now: str, tags: list[str], changes: str, status: str) -> list[str]:
    """Every reason not to release; none if it may go on."""
    reasons = []
    if not VERSION.fullmatch(version):
        reasons.append(f"{version!r} is not a version such as {now}")
    elif _parts(version) < _parts(now):
        reasons.append(f"{version} is below {now}, which the code has")
    if f"v{version}" in tags:
        reasons.append(f"there is a tag v{version}")
    if not changes:
        reasons.append(f"{CHANGELOG} has nothing under Unreleased")
    if status:
        reasons.append(f"there are changes that are not committed:\n{status}")
    return reasons


def look(root: Path, version: str) -> list[str]:
    """Every reason not to release this version from this checkout."""
    return refusals(
        version,
        number((root / NUMBER).read_text(encoding="utf-8")),
        _git(root, "tag", "--list").split(),
        unreleased((root / CHANGELOG).read_text(encoding="utf-8")),
        _git(root, "status", "--porcelain").rstrip(),
    )


def release(
    root: Path, version: str, day: str, *, generate: Callable[[Path], None], build: Callable[[Path, Path], None]
) -> None:
    """Release what `look` has no reason against.

    Args:
        root: The checkout, on the branch to release.
        version: The new version, without a `v`.
        day: Its day, as 2026-11-28.
        generate: Makes again, in a source tree, the files that are made from the code.
        build: Writes the sdist and the wheel of a source tree into a folder, and proves them.

    Raises:
        CalledProcessError: A step failed; nothing has changed.
    """
    changes = unreleased((root / CHANGELOG).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        tree, dist = Path(place) / "tree", Path(place) / "dist"
        _git(root, "worktree", "add", "--quiet", "--detach", str(tree))
        try:
            _write(tree, version, day)
            generate(tree)
            # Without the hooks: they run the checkout's tools, and `make release` has just run the same checks.
            _git(tree, "commit", "--quiet", "--all", "--no-verify", "--message", f"Release {version}")
            build(tree, dist)
            commit = _git(tree, "rev-parse", "HEAD").strip()
        finally:
            _git(root, "worktree", "remove", "--force", str(tree))
        _git(root, "merge", "--quiet", "--ff-only", commit)
        _git(root, "tag", "--annotate", f"v{version}", "--cleanup=verbatim", "--message", f"{version}\n\n{changes}")
        shutil.rmtree(root / "dist", ignore_errors=True)
        shutil.copytree(dist, root / "dist")


def _write(tree: Path, version: str, day: str) -> None:
    now = number((tree / NUMBER).read_text(encoding="utf-8"))
    for name in PLACES:
        path = tree / name
        path.write_text(renumbered(path.read_text(encoding="utf-8"), now, version), encoding="utf-8")
    log = tree / CHANGELOG
    log.write_text(released(log.read_text(encoding="utf-8"), version, day), encoding="utf-8")


def _contract(tree: Path) -> None:
    """The contract's files, with the new version, and marked as released."""
    for what in ("document", "release", "site"):
        subprocess.run([ROOT / ".venv" / "bin" / "python", "-m", "asyncapi", what], cwd=tree, check=True)


def _dist(tree: Path, folder: Path) -> None:
    subprocess.run([sys.executable, tree / ".ci" / "dist.py", tree, folder], check=True)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _git(where: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=where, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Release this checkout, and say what is left to do by hand."""
    parser = argparse.ArgumentParser(description="Release a version; nothing is pushed or uploaded.")
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument("--look", action="store_true", help="only say whether it could be released")
    options = parser.parse_args(arguments)
    reasons = look(ROOT, options.version)
    for reason in reasons:
        print(f"release: {reason}", file=sys.stderr)
    if reasons:
        return 1
    if not options.look:
        release(ROOT, options.version, datetime.now(UTC).date().isoformat(), generate=_contract, build=_dist)
        print("Left to do: git push --follow-tags; twine upload dist/*; make image, and push it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
