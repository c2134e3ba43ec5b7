"""Where RabbitMQ and Redis come from: the environment, or Docker Compose, or this machine's programs, in this order."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from sandbox import compose, packages
from sandbox.rabbitmq import PrivateRabbitMQ
from sandbox.redis import PrivateRedis
from sandbox.versions import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BASE_DIR = Path(__file__).parent.parent / ".sandbox"

VARIABLES = {"rabbitmq": "RABBITMQ_URL", "redis": "REDIS_URL"}


class WorldError(RuntimeError):
    """RabbitMQ or Redis cannot be started here; the message says what to do about it."""


@dataclass(frozen=True)
class RunningRabbitMQ:
    """A RabbitMQ that we did not start and must not stop."""

    url: str = field(repr=False)  # it has a password in it
    management_url: str

    can_stop: ClassVar[Literal[False]] = False

    @property
    def username(self) -> str:
        """The user of the URL."""
        return unquote(urlsplit(self.url).username or "guest")

    @property
    def password(self) -> str:
        """The password of the URL."""
        return unquote(urlsplit(self.url).password or "guest")


@dataclass(frozen=True)
class RunningRedis:
    """A Redis that we did not start and must not stop."""

    url: str = field(repr=False)  # it may have a password in it

    can_stop: ClassVar[Literal[False]] = False


@dataclass(frozen=True)
class World:
    """The real servers of one run. A test that stops one checks its `can_stop` first."""

    rabbitmq: RunningRabbitMQ | PrivateRabbitMQ
    redis: RunningRedis | PrivateRedis
    base_dir: Path


@contextmanager
def open_world(
    base_dir: Path = BASE_DIR,
    *,
    keep: bool = False,
    redis_appendonly: bool = False,
    fixed_ports: bool = False,
    say: Callable[[str], object] = print,
) -> Iterator[World]:
    """Find or start RabbitMQ and Redis, and leave nothing behind, except the files when `keep` is set.

    With `fixed_ports` those that are started listen where they usually do, if nobody else does.
    """
    with ExitStack() as stack:
        here = stack.enter_context(_run_directory(base_dir, keep=keep))
        rabbitmq: RunningRabbitMQ | PrivateRabbitMQ | None = _named_rabbitmq()
        redis: RunningRedis | PrivateRedis | None = _named_redis()
        missing = [name for name, found in (("rabbitmq", rabbitmq), ("redis", redis)) if found is None]
        composed = _composed(stack, missing, say, fixed_ports=fixed_ports)
        if composed is None:
            _install_programs(missing, say)
        for name, variable in VARIABLES.items():
            ours = "Docker Compose" if composed else f"a private {name}-server"
            say(f"{name}: {ours if name in missing else 'the one in ' + variable}")
        if composed is not None:
            rabbitmq = rabbitmq or RunningRabbitMQ(composed.rabbitmq_url, composed.management_url)
            redis = redis or RunningRedis(composed.redis_url)
        rabbitmq = rabbitmq or stack.enter_context(PrivateRabbitMQ(here / "rabbitmq", fixed_ports=fixed_ports))
        redis = redis or stack.enter_context(
            PrivateRedis(here / "redis", appendonly=redis_appendonly, fixed_ports=fixed_ports)
        )
        world = World(rabbitmq, redis, here)
        say(versions(world))
        yield world


@contextmanager
def _run_directory(base_dir: Path, *, keep: bool) -> Iterator[Path]:
    base_dir.mkdir(parents=True, exist_ok=True)
    here = Path(tempfile.mkdtemp(prefix="run-", dir=base_dir))
    try:
        yield here
    finally:
        if not keep:
            shutil.rmtree(here, ignore_errors=True)
            with suppress(OSError):  # another run is in there
                base_dir.rmdir()


def _named_rabbitmq() -> RunningRabbitMQ | None:
    if not (url := os.environ.get("RABBITMQ_URL")):
        return None
    guess = f"http://{urlsplit(url).hostname or 'localhost'}:15672"
    return RunningRabbitMQ(url, os.environ.get("RABBITMQ_MANAGEMENT_URL", guess))


def _named_redis() -> RunningRedis | None:
    url = os.environ.get("REDIS_URL")
    return RunningRedis(url) if url else None


def _composed(
    stack: ExitStack, services: list[str], say: Callable[[str], object], *, fixed_ports: bool
) -> compose.ComposedServices | None:
    if not services or not compose.engine_answers():
        return None
    composed = compose.ComposedServices(services, fixed_ports=fixed_ports)
    stack.callback(composed.down)
    try:
        composed.up()
    except subprocess.SubprocessError as error:
        say(f"Docker Compose could not start {' and '.join(services)} ({type(error).__name__})")
        return None
    return composed


def _install_programs(services: list[str], say: Callable[[str], object]) -> None:
    if not (wanted := _not_installed(services)):
        return
    if packages.can_install():
        say(f"installing {' and '.join(wanted)} with apt-get")
        with suppress(subprocess.SubprocessError):
            packages.install(wanted)
    if wanted := _not_installed(services):
        variables = " and ".join(VARIABLES[name] for name in services)
        raise WorldError(f"Start Docker, or install {' and '.join(wanted)}, or set {variables}.")


def _not_installed(services: list[str]) -> list[str]:
    installed = {"rabbitmq": PrivateRabbitMQ.installed(), "redis": PrivateRedis.installed()}
    return [f"{name}-server" for name in services if not installed[name]]
