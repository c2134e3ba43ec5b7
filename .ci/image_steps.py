"""Run the steps of the Dockerfile's build stage without a container engine, and look at what they leave.

The commands are the Dockerfile's own; only its folders lie under a temporary one. The step that builds the project's
wheel runs with every way to a package registry closed, since an image must build again without one. This machine's
Python stands in for the base: the steps are proved, the base is not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
CLOSED: Final = "http://127.0.0.1:9"  # nobody listens there
NO_REGISTRY: Final = {"PIP_INDEX_URL": CLOSED, "PIP_EXTRA_INDEX_URL": CLOSED, "https_proxy": CLOSED}


def steps(dockerfile: str) -> Iterator[tuple[str, str]]:
    """The instructions of the stage `build` that do something, with what follows each."""
    (stage,) = re.findall(r"^FROM \S+ AS build\n(.*?)^FROM", dockerfile, re.DOTALL | re.MULTILINE)
    for line in stage.replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        if name in {"RUN", "COPY"}:
            yield name, rest


def run(place: Path) -> None:
    """Do the steps under a folder.

    Raises:
        CalledProcessError: A step failed; it has said why.
    """
    (place / "src").mkdir()
    (place / "bin").mkdir()
    (place / "bin" / "python").symlink_to(sys.executable)  # as the base names it
    inside = {**os.environ, "PATH": f"{place}/bin:{os.environ['PATH']}", "PIP_QUIET": "1"}
    for name, rest in steps((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        print(f"image-steps: {name} {rest}", flush=True)
        if name == "COPY":
            _copy(place / "src", *rest.split())
        else:
            offline = NO_REGISTRY if "pip wheel" in rest else {}
            _shell(re.sub(r"(?<=\s)/(build|venv|wheel)\b", rf"{place}/\1", f" {rest}"), place / "src", inside | offline)


def look(place: Path) -> None:
    """See that the environment has the worker, its command and the contract's site, and no installer."""
    bin_ = place / "venv" / "bin"
    _shell(f"{bin_}/stream --version", place, os.environ)
    (site,) = (place / "venv").glob("lib/python*/site-packages/stream/site/index.html")
    installers = [*bin_.glob("pip*"), *site.parents[2].glob("pip")]
    if installers:
        sys.exit(f"image-steps: the image would have an installer: {installers}")


def _copy(source: Path, *names: str) -> None:
    *sources, target = names
    for name in sources:
        found, to = ROOT / name, source / target
        if found.is_dir():
            shutil.copytree(found, to, ignore=shutil.ignore_patterns("__pycache__"))  # as .dockerignore says
        else:
            shutil.copy(found, to)


def _shell(command: str, where: Path, environment: Mapping[str, str]) -> None:
    subprocess.run(["/bin/sh", "-c", command], cwd=where, env=dict(environment), check=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder).resolve())
        look(Path(folder).resolve())
