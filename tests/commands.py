"""Running `stream` in this process."""

from __future__ import annotations

from stream.operations.cli import main


def stream(*words: str) -> int:
    """Run one command; returns its exit code."""
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("a command ends with an exit code")
