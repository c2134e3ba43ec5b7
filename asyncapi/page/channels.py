"""The channels: where to publish or bind, with every name and argument that a client must assert."""

from __future__ import annotations

import json
from typing import Any

from asyncapi.page.html import Html, code, join, tag, ticked
from asyncapi.page.markdown import section
from stream.observe.declared import arguments_html

Node = dict[str, Any]


def channels(document: Node) -> Html:
    """All channels."""
    operations = {
        operation["channel"]["$ref"].rsplit("/", 1)[1]: operation for operation in document["operations"].values()
    }
    cards = [_channel(key, channel, operations[key]) for key, channel in document["channels"].items()]
    return section(
        "Channels", join(_server(document), *cards), "channels", "Exchanges, queues, routing keys, arguments"
    )


def _server(document: Node) -> Html:
    return tag("p", ticked(document["servers"]["rabbitmq"]["description"]))


def _channel(key: str, channel: Node, operation: Node) -> Html:
    receives = operation["action"] == "receive"
    message, binding = next(iter(channel["messages"])), channel["bindings"]["amqp"]
    return tag(
        "article",
        tag(
            "header",
            tag("h3", channel["title"]),
            tag("span", "you publish" if receives else "you consume", class_="chip in"),
        ),
        tag("p", ticked(channel["description"])),
        tag("dl", *_facts(channel, message), class_="facts"),
        id=f"channel-{key}",
        data_find=channel["title"],
        data_kind="channel",
        data_about=channel["address"],
        data_more=json.dumps([binding.get("exchange") or binding["x-exchange"], binding.get("x-bindings")]),
    )


def _facts(channel: Node, message: str) -> list[Html]:
    binding = channel["bindings"]["amqp"]
    exchange = binding.get("exchange") or binding["x-exchange"]
    queue = binding.get("queue") or binding.get("x-queue")
    facts = [
        ("Message", tag("a", message, href=f"#message-{message}")),
        ("Routing key", code(channel["address"])),
        ("Exchange", join(code(exchange["name"]), f" · {exchange['type']}{_durable(exchange)}")),
    ]
    if queue:
        facts += [("Queue", join(code(queue["name"]), _durable(queue)))]
        facts += [("Bound with", code(bound["routingKey"])) for bound in binding["x-bindings"]]
    shown = [join(tag("dt", name), tag("dd", value)) for name, value in facts]
    return [*shown, _arguments(queue)] if queue else shown


def _durable(thing: Node) -> str:
    return " · durable" if thing["durable"] else ""


def _arguments(queue: Node) -> Html:
    """In a place that a worker finds, since it shows those of its own."""
    shown = Html(arguments_html(queue["arguments"]))
    return join(tag("dt", "Arguments"), tag("dd", shown, class_="arguments", data_queue=queue["name"]))
