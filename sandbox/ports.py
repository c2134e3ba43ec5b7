"""Where the servers usually listen, and log in: as in the Compose file, so that a printed command works for both."""

from __future__ import annotations

import socket

from sandbox.processes import free_ports

RABBITMQ_PORT = 5672
MANAGEMENT_PORT = 15672
REDIS_PORT = 6379
GRAPH_PORT = 8090
TENANTS_PORT = 8091

USERNAME = PASSWORD = "whatsapp"


def port_or_free(wanted: int) -> int:
    """A port of 127.0.0.1 if nothing listens there, else another one that is free."""
    with socket.socket() as caller:
        taken = caller.connect_ex(("127.0.0.1", wanted)) == 0
    return free_ports(1)[0] if taken else wanted
