"""What servers of Redis are asked with `redis-cli`, and waiting for their answers."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

from sandbox.processes import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox.redis import PrivateRedis

READY_SECONDS = 30
POLL_SECONDS = 0.1


def replicated(server: PrivateRedis, password: str = "") -> bool:
    """Whether it is a replica that has what its master has. One that Sentinels just make one closes connections."""
    try:
        facts = cli(server.port, "info", "replication", password=password, host=server.place.own)
    except ServerError:
        return False
    return "master_link_status:up" in facts


def cli(port: int, *words: str, password: str = "", host: str = "127.0.0.1") -> str:
    """Run `redis-cli` and return what it printed."""
    command: Sequence[str] = ["redis-cli", "-h", host, "-p", str(port), *words]
    environment = {**os.environ, **({"REDISCLI_AUTH": password} if password else {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=READY_SECONDS, check=False)
    if done.returncode != 0:
        raise ServerError(f"redis-cli {' '.join(words)} failed: {done.stderr or done.stdout}")
    return done.stdout


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait until this is true."""
    end = time.monotonic() + READY_SECONDS
    while not true():
        if time.monotonic() > end:
            raise ServerError(f"not within {READY_SECONDS} s: {what}")
        time.sleep(POLL_SECONDS)
