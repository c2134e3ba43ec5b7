"""The channels: where to publish or bind, with every name and argument that a client must assert."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]


@dataclass(frozen=True)
class Channel:
    """A channel as the page shows it; `exchange` and `queue` are the document's own, `queue` is `None` without one."""

    key: str
    title: str
    description: str
    address: str
    is_published_by_reader: bool
    message: str
    exchange: Node
    queue: Node | None
    bound_with: list[str]
    found_by: str


def channels(document: Node) -> list[Channel]:
    """All channels."""
    operations = {
        operation["channel"]["$ref"].rsplit("/", 1)[1]: operation for operation in document["operations"].values()
    }
    return [_channel(key, channel, operations[key]) for key, channel in document["channels"].items()]


def _channel(key: str, channel: Node, operation: Node) -> Channel:
    binding = channel["bindings"]["amqp"]
    exchange = binding.get("exchange") or binding["x-exchange"]
    return Channel(
        key=key,
        title=channel["title"],
        description=channel["description"],
        address=channel["address"],
        is_published_by_reader=operation["action"] == "receive",
        message=next(iter(channel["messages"])),
        exchange=exchange,
        queue=binding.get("queue") or binding.get("x-queue"),
        bound_with=[bound["routingKey"] for bound in binding.get("x-bindings", ())],
        found_by=json.dumps([exchange, binding.get("x-bindings")]),
    )
