"""The servers of the document: RabbitMQ with and without TLS, and how a client proves who it is."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from stream.contract.queues import INTAKE_EXCHANGE

Node = dict[str, Any]

SECURITY_SCHEMES: Final[Node] = {
    "userPassword": {
        "type": "userPassword",
        "description": "A user of RabbitMQ and its password (SASL PLAIN), with rights on the vhost. A publisher needs "
        f"the right to write to `{INTAKE_EXCHANGE}`, and no other. Without TLS the password can be read on the way.",
    }
}


def servers(drawn: Node) -> Node:
    """Both ways to RabbitMQ, without the address that this process happens to use, which is nobody else's.

    Args:
        drawn: The server as FastStream draws it; its vhost and version hold for both.
    """
    return {
        "rabbitmq": _server(drawn, "amqp", 5672, "RabbitMQ", "For a network that nobody else can listen on."),
        "rabbitmqTls": _server(
            drawn,
            "amqps",
            5671,
            "RabbitMQ with TLS",
            "Check RabbitMQ's certificate, and that it names the host. Where RabbitMQ asks for a client certificate, "
            "send one besides user and password.",
        ),
    }


def vhost_of(path: str) -> str:
    """The vhost in a URL's path, or in FastStream's binding: without the slash that only divides it from the host."""
    return path.removeprefix("/") or "/"


def _server(drawn: Node, protocol: str, port: int, title: str, description: str) -> Node:
    vhost = vhost_of(drawn["pathname"])
    return {
        "host": "{host}:{port}",
        "pathname": "/" + quote(vhost, safe=""),
        "protocol": protocol,
        "protocolVersion": drawn["protocolVersion"],
        "title": title,
        "description": f"{description} The vhost is `{vhost}`; in a URL its slash is written `%2F`.",
        "variables": {
            "host": {"default": "localhost", "description": "Where the deployment's RabbitMQ is."},
            "port": {"default": str(port), "description": f"RabbitMQ's usual port for {protocol}."},
        },
        "security": [{"$ref": "#/components/securitySchemes/userPassword"}],
    }
