"""Running `stream`, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import os
import sys

from stream.operations.cli import main


def stream(*words: str) -> int:
    """Run one command; returns its exit code."""
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError("a command ends with an exit code")


async def in_a_process(redis_url: str, *words: str) -> tuple[int, str]:
    """Run one command that listens to signals; returns its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stream.operations.cli",
        *words,
        env={**os.environ, "REDIS_URL": redis_url},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()
