"""A private Redis: a separate server on a free port, with every file in one folder."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from sandbox.ports import REDIS_PORT, port_or_free
from sandbox.processes import PrivateServer, answers, free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.certificates import ServerCertificate

START_SECONDS = 15


class PrivateRedis(PrivateServer):
    """A redis-server; its data survive its end only with `appendonly`.

    Args:
        base_dir: Where all its files go.
        appendonly: Keep data on disk.
        certificate: With one it listens on a port with TLS too.
        fixed_ports: Listen where Redis usually does, if that port is free.
        password: What clients have to log in with.
        options: More of its own options.
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        appendonly: bool = False,
        certificate: ServerCertificate | None = None,
        fixed_ports: bool = False,
        password: str = "",
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("Redis", base_dir)
        self.port, self._tls_port = free_ports(2)
        if fixed_ports:
            self.port = port_or_free(REDIS_PORT)
        self._certificate = certificate
        self._appendonly = appendonly
        self._password = password
        self._options = options or {}

    @staticmethod
    def installed() -> bool:
        """Whether this machine has the program."""
        return shutil.which("redis-server") is not None

    @property
    def url(self) -> str:
        """Where it listens."""
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    @property
    def tls_url(self) -> str:
        """Where it listens with TLS, without the authority to trust."""
        return f"rediss://127.0.0.1:{self._tls_port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {
            "--bind": "127.0.0.1",
            "--port": str(self.port),
            "--dir": str(self._dir),
            "--save": "",
            "--appendonly": "yes" if self._appendonly else "no",
            **self._options,
        }
        if self._password:
            options |= {"--requirepass": self._password, "--masterauth": self._password}
        if self._certificate is not None:
            options |= {
                "--tls-port": str(self._tls_port),
                "--tls-cert-file": str(self._certificate.certificate.resolve()),
                "--tls-key-file": str(self._certificate.key.resolve()),
                "--tls-ca-cert-file": str(self._certificate.authority.resolve()),
                "--tls-auth-clients": "no",
            }
        command = ["redis-server", *(part for option in options.items() for part in option)]
        question, answer = (f"AUTH {self._password}", b"+OK") if self._password else ("PING", b"+PONG")
        self._process.start(
            command, os.environ, lambda: answers(self.port, f"{question}\r\n".encode(), answer), START_SECONDS
        )
