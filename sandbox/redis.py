"""A private Redis: a separate server on a free port, with every file in one folder."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from sandbox.network import HERE, Place
from sandbox.ports import REDIS_PORT, port_or_free
from sandbox.processes import PrivateServer, answers, free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.certificates import ServerCertificate

START_SECONDS = 15


def tls_options(certificate: ServerCertificate, port: int) -> dict[str, str]:
    """What makes a server, or a Sentinel, listen on a port with TLS."""
    return {
        "tls-port": str(port),
        "tls-cert-file": str(certificate.certificate.resolve()),
        "tls-key-file": str(certificate.key.resolve()),
        "tls-ca-cert-file": str(certificate.authority.resolve()),
        "tls-auth-clients": "no",
    }


class PrivateRedis(PrivateServer):
    """A redis-server; its data survive its end only with `appendonly`.

    Args:
        base_dir: Where all its files go.
        appendonly: Keep data on disk.
        certificate: With one it listens on a port with TLS too.
        fixed_ports: Listen where Redis usually does, if that port is free.
        password: What clients have to log in with.
        place: Where it runs.
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
        place: Place = HERE,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("Redis", base_dir)
        self.place = place
        self.port, self.tls_port = free_ports(2)
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
        return f"redis://{login}{self.place.own}:{self.port}/0"

    @property
    def tls_url(self) -> str:
        """Where it listens with TLS, without the authority to trust."""
        return f"rediss://{self.place.own}:{self.tls_port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {
            "--bind": self.place.own,
            "--port": str(self.port),
            "--dir": str(self._dir),
            "--save": "",
            "--appendonly": "yes" if self._appendonly else "no",
            **self._options,
        }
        if self._password:
            options |= {"--requirepass": self._password, "--masterauth": self._password}
        if self._certificate is not None:
            secured = tls_options(self._certificate, self.tls_port)
            options |= {f"--{name}": value for name, value in secured.items()}
        command = [*self.place.command, "redis-server", *(part for option in options.items() for part in option)]
        question, answer = (f"AUTH {self._password}", b"+OK") if self._password else ("PING", b"+PONG")
        asked = f"{question}\r\n".encode()
        self._process.start(
            command, os.environ, lambda: answers(self.port, asked, answer, self.place.own), START_SECONDS
        )
