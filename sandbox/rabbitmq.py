"""A private RabbitMQ: a separate node on free ports, with every file, cookie and log in one folder."""

from __future__ import annotations

import base64
import http.client
import os
import secrets
import shutil
import subprocess
from contextlib import closing, suppress
from pathlib import Path

from sandbox.certificates import ServerCertificate
from sandbox.network import HERE, Place
from sandbox.ports import MANAGEMENT_PORT, PASSWORD, RABBITMQ_PORT, USERNAME, port_or_free
from sandbox.processes import PrivateServer, ServerError, ServerProcess, answers, free_ports

START_SECONDS = 90  # a busy machine with two cores needs about ten
CTL_SECONDS = 60
OK = 200

# The programs themselves: what Debian puts on the PATH is a wrapper that changes the user when root runs it.
BEHIND_WRAPPERS = ("/usr/lib/rabbitmq/bin", "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin")
BESIDE_PATH = ("/opt/homebrew/sbin", "/usr/local/sbin")


class PrivateRabbitMQ(PrivateServer):
    """A RabbitMQ node; its durable queues and persistent messages survive a stop, a kill and a restart.

    Args:
        base_dir: Where all its files go.
        certificate: With one it listens on a port with TLS too.
        place: Where it runs.
        fixed_ports: Listen where RabbitMQ usually does, if those ports are free, with the Compose file's password, so
            that a command that was printed once works the next time too.
    """

    def __init__(
        self,
        base_dir: Path,
        *,
        certificate: ServerCertificate | None = None,
        place: Place = HERE,
        fixed_ports: bool = False,
    ) -> None:
        super().__init__("RabbitMQ", base_dir)
        self.port, self.management_port, self._distribution_port, self._epmd_port, self._tls_port = free_ports(5)
        if fixed_ports:
            self.port, self.management_port = port_or_free(RABBITMQ_PORT), port_or_free(MANAGEMENT_PORT)
        self._certificate = certificate
        self.place = place
        self.username = USERNAME
        self.password = PASSWORD if fixed_ports else secrets.token_urlsafe(12)
        self.script = find_script("rabbitmq-server")  # its rabbitmqctl is beside it
        self._epmd = ServerProcess("epmd", self._dir / "epmd.log")

    @staticmethod
    def installed() -> bool:
        """Whether this machine has the program."""
        return find_script("rabbitmq-server") is not None

    @property
    def node(self) -> str:
        """Its name in Erlang."""
        return f"sandbox-{os.getpid()}@localhost"

    @property
    def url(self) -> str:
        """The AMQP URL, with the vhost /whatsapp."""
        return f"amqp://{self.username}:{self.password}@{self.place.host}:{self.port}/%2Fwhatsapp"

    @property
    def tls_url(self) -> str:
        """The AMQPS URL, without the authority to trust."""
        return f"amqps://{self.username}:{self.password}@127.0.0.1:{self._tls_port}/%2Fwhatsapp"

    @property
    def management_url(self) -> str:
        """Where the management API listens; it takes the same user and password."""
        return f"http://{self.place.host}:{self.management_port}"

    def start(self) -> None:
        """Start it and wait until AMQP and the vhost are there."""
        if self.script is None:
            raise ServerError("there is no rabbitmq-server on this machine")
        self._write_configuration()
        if not self._epmd.running and not self._epmd_answers():
            self._start_epmd()
        command = [*self.place.command, str(self.script)]
        self._process.start(command, self._environment(), self._is_ready, START_SECONDS)

    def stop(self) -> None:
        """End it gracefully, and the port mapper that belongs to it."""
        super().stop()
        self._epmd.kill()

    def close(self) -> None:
        """End everything at once: a graceful stop takes six seconds, and has no use at the end."""
        super().close()
        self._epmd.kill()

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against this node and return what it printed."""
        if self.script is None:
            raise ServerError("there is no rabbitmqctl on this machine")
        command = [*self.place.command, str(self.script.with_name("rabbitmqctl")), "--silent", *arguments]
        try:
            done = subprocess.run(
                command, env=self._environment(), capture_output=True, text=True, timeout=CTL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ServerError(f"rabbitmqctl {arguments[0]} did not end within {CTL_SECONDS} s") from None
        if done.returncode != 0:
            raise ServerError(f"rabbitmqctl {arguments[0]} failed: {done.stderr or done.stdout}")
        return done.stdout

    def _start_epmd(self) -> None:
        # Erlang would start one itself, as a daemon that keeps running on a port that all other nodes share.
        epmd = find_epmd()
        addresses = ",".join({self.place.peer, self.place.host})
        command = [*self.place.command, epmd, "-port", str(self._epmd_port), "-address", addresses]
        self._epmd.start(command, os.environ, self._epmd_answers, START_SECONDS)

    def _epmd_answers(self) -> bool:
        names_request, port = b"\x00\x01n", self._epmd_port.to_bytes(4, "big")
        return answers(self._epmd_port, names_request, port, self.place.host)

    def _write_configuration(self) -> None:
        (self._dir / "enabled_plugins").write_text("[rabbitmq_management, rabbitmq_consistent_hash_exchange].\n")
        (self._dir / "empty.conf").write_text("")
        configuration = self._dir / "rabbitmq.conf"
        configuration.touch(mode=0o600)  # it has the password in it
        configuration.write_text(self._configuration())

    def _configuration(self) -> str:
        return (
            f"listeners.tcp.local = {self.place.host}:{self.port}\n"
            f"management.tcp.ip = {self.place.host}\n"
            f"management.tcp.port = {self.management_port}\n"
            "default_vhost = /whatsapp\n"
            f"default_user = {self.username}\n"
            f"default_pass = {self.password}\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
            "disk_free_limit.absolute = 50MB\n" + self._tls_configuration()
        )

    def _tls_configuration(self) -> str:
        if self._certificate is None:
            return ""
        return (
            f"listeners.ssl.local = 127.0.0.1:{self._tls_port}\n"
            f"ssl_options.cacertfile = {self._certificate.authority.resolve()}\n"
            f"ssl_options.certfile = {self._certificate.certificate.resolve()}\n"
            f"ssl_options.keyfile = {self._certificate.key.resolve()}\n"
        )

    def _environment(self) -> dict[str, str]:
        here = self._dir
        # The user's own RabbitMQ settings must not apply to the private node.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
        return inherited | {
            "HOME": str(here),  # for the Erlang cookie
            "ERL_EPMD_ADDRESS": self.place.peer,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            # By default rabbitmqctl listens 10,000 ports higher, which may be beyond the last one.
            "RABBITMQ_CTL_DIST_PORT_MIN": "0",
            "RABBITMQ_CTL_DIST_PORT_MAX": "0",
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "empty.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_PID_FILE": str(here / "rabbitmq.pid"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(here / "generated"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": self._erlang_arguments(),
        }

    def _erlang_arguments(self) -> str:
        """Two schedulers on any machine, and Erlang's distribution on one address only."""
        return f"+S 2:2 -kernel inet_dist_use_interface {{{self.place.peer.replace('.', ',')}}}"

    def _is_ready(self) -> bool:
        connection_start = b"\x01\x00\x00"  # a method frame on channel 0, the server's first word in AMQP
        hello = b"AMQP\x00\x00\x09\x01"
        return answers(self.port, hello, connection_start, self.place.host) and self._has_vhost()

    def _has_vhost(self) -> bool:
        return self._get("/api/vhosts/%2Fwhatsapp") == OK

    def _get(self, path: str) -> int:
        """The status of an answer of the management API; 0 without an answer."""
        credentials = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        connection = http.client.HTTPConnection(self.place.host, self.management_port, timeout=2)
        with suppress(OSError, http.client.HTTPException), closing(connection):
            connection.request("GET", path, headers={"Authorization": f"Basic {credentials}"})
            return connection.getresponse().status
        return 0


def find_script(name: str) -> Path | None:
    """A RabbitMQ program of this machine that runs as the user who calls it."""
    behind = [path for pattern in BEHIND_WRAPPERS for path in Path("/").glob(pattern.lstrip("/"))]
    found = shutil.which(name)
    beside = [Path(folder) for folder in BESIDE_PATH]
    candidates = [*(folder / name for folder in behind), *([Path(found)] if found else []), *(f / name for f in beside)]
    return next((path for path in candidates if path.exists()), None)


def find_epmd() -> str:
    """Erlang's port mapper; it is on the PATH or beside Erlang's own programs."""
    if found := shutil.which("epmd"):
        return found
    ask = 'io:format("~s", [code:root_dir()]), halt().'
    root = subprocess.run(["erl", "-noshell", "-eval", ask], capture_output=True, text=True, check=True).stdout
    return next(str(path) for path in Path(root).glob("erts-*/bin/epmd"))
