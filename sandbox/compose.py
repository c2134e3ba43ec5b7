"""RabbitMQ and Redis from the project's Docker Compose file, when an engine answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from sandbox.ports import MANAGEMENT_PORT, PASSWORD, RABBITMQ_PORT, REDIS_PORT, USERNAME, port_or_free
from sandbox.processes import free_ports

COMPOSE_FILE = Path(__file__).parent.parent / "docker-compose.yml"

ASK_SECONDS = 5
UP_SECONDS = 300  # images may have to be pulled
DOWN_SECONDS = 60


def engine_answers() -> bool:
    """Whether there is a Compose file and a Docker engine that can run it; the docker client alone is not enough."""
    if not COMPOSE_FILE.exists() or shutil.which("docker") is None:
        return False
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=ASK_SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class ComposedServices:
    """Some services of the Compose file, under their own project name and ports, or the usual ports that are free."""

    def __init__(self, services: list[str], *, fixed_ports: bool = False) -> None:
        self._services = services
        self._project = f"sandbox-{os.getpid()}"
        usual = (RABBITMQ_PORT, MANAGEMENT_PORT, REDIS_PORT)
        self.rabbitmq_port, self.management_port, self.redis_port = (
            map(port_or_free, usual) if fixed_ports else free_ports(3)
        )

    @property
    def rabbitmq_url(self) -> str:
        """The AMQP URL, with the vhost /whatsapp."""
        return f"amqp://{USERNAME}:{PASSWORD}@127.0.0.1:{self.rabbitmq_port}/%2Fwhatsapp"

    @property
    def management_url(self) -> str:
        """Where RabbitMQ's management API listens."""
        return f"http://127.0.0.1:{self.management_port}"

    @property
    def redis_url(self) -> str:
        """Where Redis listens."""
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def up(self) -> None:
        """Start the services and wait until they are healthy."""
        self._compose("up", "-d", "--wait", *self._services, seconds=UP_SECONDS)

    def down(self) -> None:
        """Remove the containers and their volumes, if there are any."""
        with suppress(subprocess.SubprocessError):
            self._compose("down", "-v", seconds=DOWN_SECONDS)

    def _compose(self, *arguments: str, seconds: float) -> None:
        environment = os.environ | {
            "RABBITMQ_PORT": str(self.rabbitmq_port),
            "RABBITMQ_MANAGEMENT_PORT": str(self.management_port),
            "RABBITMQ_USER": USERNAME,
            "RABBITMQ_PASSWORD": PASSWORD,
            "REDIS_PORT": str(self.redis_port),
        }
        command = ["docker", "compose", "-f", str(COMPOSE_FILE), "-p", self._project, *arguments]
        subprocess.run(command, env=environment, capture_output=True, timeout=seconds, check=True)
