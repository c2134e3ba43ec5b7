"""Build the sdist and the wheel, and prove that they install: `dist.py TREE FOLDER`.

The wheel is built from the sdist, so that the sdist is known to be whole. Both must please `twine check`, and the wheel
must run in an empty environment that holds what requirements.lock pins and nothing else. Nothing is uploaded.

It runs with the Python of the tools' environment, which has what it needs to build: nothing is downloaded unpinned.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Final

QUIET: Final = ("--quiet", "--disable-pip-version-check")
# What a user of the wheel would miss first: the package, its command, and the contract's site that the worker serves.
PROOF: Final = "import stream, pathlib; assert (pathlib.Path(stream.__file__).parent / 'site' / 'index.html').is_file()"


def build(tree: Path, folder: Path) -> None:
    """Write sdist and wheel of a source tree into a folder, which must be empty.

    Raises:
        CalledProcessError: A step failed; it has said why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _python("-m", "hatchling", "build", "--target", "sdist", "--directory", str(folder), cwd=tree)
    (sdist,) = folder.glob("*.tar.gz")
    offline = ("--no-index", "--no-deps", "--no-build-isolation")
    _python("-m", "pip", "wheel", *QUIET, *offline, "--wheel-dir", str(folder), str(sdist), cwd=tree)
    (wheel,) = folder.glob("*.whl")
    _python("-m", "twine", "check", "--strict", str(sdist), str(wheel), cwd=tree)
    with tempfile.TemporaryDirectory() as place:
        try_out(wheel, tree / "requirements.lock", Path(place))


def try_out(wheel: Path, lock: Path, place: Path) -> None:
    """Install a wheel into an empty environment at `place`, and run it there."""
    venv.create(place, with_pip=True)
    pip = (str(place / "bin" / "python"), "-m", "pip", "install", *QUIET)
    _run(*pip, "--require-hashes", "-r", str(lock), cwd=place)
    _run(*pip, "--no-index", "--no-deps", str(wheel), cwd=place)
    _run(pip[0], "-m", "pip", "check", cwd=place)
    _run(pip[0], "-c", PROOF, cwd=place)
    _run(str(place / "bin" / "stream"), "--version", cwd=place)


def _python(*arguments: str, cwd: Path) -> None:
    _run(sys.executable, *arguments, cwd=cwd)


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
