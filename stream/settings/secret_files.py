"""Secrets from files, as Docker and Kubernetes mount them: `NAME_FILE` names the file that holds the value of `NAME`.

A file's content is not visible in `docker inspect`, in `kubectl describe` or in the environment of a child process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def file_variable(name: str) -> str:
    """The variable that names the file of another one."""
    return f"{name}_FILE"


def from_file(name: str, environ: Mapping[str, str]) -> str | None:
    """The value of a variable from its file; `None` where the environment names none.

    Raises:
        ValueError: One sentence with the fix: the file cannot be read, or the variable itself is set too. It shows the
            path only if that is certainly a path.
    """
    path = environ.get(file_variable(name), "")
    if not path:
        return None
    if environ.get(name):
        raise ValueError(f"{name} is set too: unset one of the two")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{_named(path)} cannot be read ({error.strerror}): mount it, or correct the path") from None
    except ValueError:  # not UTF-8, or a path with a NUL; its text may quote the content
        raise ValueError(f"{_named(path)} is not text: put the value alone into it") from None


def _named(path: str) -> str:
    """The file in words. The variable may be set to the secret itself by mistake, which must not be shown.

    A path begins with a folder that exists, even if the file is not mounted. A slash at the start is not enough: one in
    64 base64 texts begins with one.
    """
    beginning = Path(path).parts[:2]
    try:
        certain = path.isprintable() and path.startswith("/") and path.count("/") > 1 and Path(*beginning).is_dir()
    except OSError:  # its name is too long
        certain = False
    return f"the file {path}" if certain else "the file that it names (not shown: it may be the secret itself)"
