"""The servers: where to connect, and how a client proves who it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

Node = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """A server as the page shows it.

    Attributes:
        login: The beginning of its URL, up to the password.
        address: The rest of its URL.
        security: The names of the document's schemes.
    """

    name: str
    title: str
    description: str
    protocol: str
    version: str
    login: str
    address: str
    host: str
    port: str
    vhost: str
    security: list[str]


def servers(document: Node) -> list[Server]:
    """All servers."""
    return [_server(name, server) for name, server in document["servers"].items()]


def _server(name: str, server: Node) -> Server:
    variables = server["variables"]
    return Server(
        name=name,
        title=server["title"],
        description=server["description"],
        protocol=server["protocol"],
        version=server["protocolVersion"],
        login=f"{server['protocol']}://user:password@",
        address=f"host:{variables['port']['default']}{server['pathname']}",
        host=variables["host"]["description"],
        port=variables["port"]["default"],
        vhost=unquote(server["pathname"].removeprefix("/")),
        security=[scheme["$ref"].rsplit("/", 1)[1] for scheme in server["security"]],
    )
