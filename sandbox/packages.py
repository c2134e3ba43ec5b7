"""Debian packages: the last possibility to get a server on a machine that has none."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALL_SECONDS = 600

APT = Path("/var/lib/apt")  # wherever there is an apt-get

# Debian asks this program before it starts a service; 101 means "do not".
POLICY = Path("/usr/sbin/policy-rc.d")
FORBID = "#!/bin/sh\nexit 101\n"


def can_install() -> bool:
    """Whether this process may install packages: as root, with apt-get."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: list[str]) -> None:
    """Install packages without starting the services they bring; another process that installs is waited for."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with _one_at_a_time(), _services_stay_off():
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run(
                ["apt-get", *command], env=environment, capture_output=True, timeout=INSTALL_SECONDS, check=True
            )


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    folder = os.open(APT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextmanager
def _services_stay_off() -> Iterator[None]:
    try:
        with POLICY.open("x") as policy:
            policy.write(FORBID)
    except FileExistsError:  # the machine has its own policy: do not change it
        yield
        return
    try:
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink()
