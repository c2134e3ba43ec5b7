"""Where the sandbox's servers listen when a command for them is to be printed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sandbox import rabbitmq
from sandbox.ports import port_or_free
from sandbox.processes import free_ports
from sandbox.rabbitmq import PrivateRabbitMQ
from sandbox.up import publish_command


def test_a_usual_port_is_taken_unless_somebody_listens_there() -> None:
    (port,) = free_ports(1)
    assert port_or_free(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert port_or_free(port) != port


def test_the_printed_command_is_the_same_each_time_where_the_usual_ports_are_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usual, management = free_ports(2)  # this machine may have a RabbitMQ on the real ones
    monkeypatch.setattr(rabbitmq, "RABBITMQ_PORT", usual)
    monkeypatch.setattr(rabbitmq, "MANAGEMENT_PORT", management)
    servers = [PrivateRabbitMQ(tmp_path / name, fixed_ports=True) for name in ("first", "second")]
    assert {server.url for server in servers} == {f"amqp://whatsapp:whatsapp@127.0.0.1:{usual}/%2Fwhatsapp"}
    (command,) = {publish_command(server) for server in servers}
    assert command.startswith(f"curl -u whatsapp:whatsapp \\\n  http://127.0.0.1:{management}/api/")
