"""On which servers a run was made."""

from __future__ import annotations

from pathlib import Path

from sandbox.processes import free_ports
from sandbox.versions import versions
from sandbox.world import RunningRabbitMQ, RunningRedis, World


def test_servers_that_do_not_tell_their_version_are_of_unknown_version() -> None:
    amqp, management, redis = free_ports(3)
    nobody = RunningRabbitMQ(f"amqp://guest:guest@127.0.0.1:{amqp}/", f"http://127.0.0.1:{management}")
    said = versions(World(nobody, RunningRedis(f"redis://127.0.0.1:{redis}/0"), Path()))
    assert said.startswith("RabbitMQ of unknown version, Redis of unknown version, Python 3.")
