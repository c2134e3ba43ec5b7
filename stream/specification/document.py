"""The document: what FastStream draws of the running application, completed with all that it leaves out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from faststream.specification.asyncapi import AsyncAPI
from faststream.specification.base import Specification

from stream import __version__
from stream.specification.bindings import Wiring
from stream.specification.channels import CHANNELS, ChannelText, parameters
from stream.specification.examples import examples
from stream.specification.generation import REF
from stream.specification.info import info
from stream.specification.schemas import document_schemas
from stream.specification.servers import SECURITY_SCHEMES, servers

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """A finished AsyncAPI document; what FastStream's commands and pages ask for.

    Attributes:
        content: The document as plain JSON values.
    """

    content: Node

    @property
    def title(self) -> str:
        """The service's name."""
        return str(self.content["info"]["title"])

    def to_jsonable(self) -> Any:
        """The document as plain JSON values."""
        return self.content

    def to_json(self) -> str:
        """The document as JSON, indented."""
        return json.dumps(self.content, indent=2, ensure_ascii=False) + "\n"

    def to_yaml(self) -> str:
        """The document as YAML, with texts of several lines as people would write them."""
        from stream.specification.yaml_text import to_yaml  # noqa: PLC0415 - PyYAML is no dependency of the worker

        return to_yaml(self.content)


class ContractSpecification(AsyncAPI):
    """FastStream's specification of the application, completed. Pass it to `FastStream(specification=…)`."""

    def __init__(self) -> None:
        super().__init__(version=__version__, **info())

    def to_specification(self) -> Specification:
        """The whole document, of the subscribers and publishers that the application has now."""
        return Document(_completed(super().to_specification().to_jsonable(), Wiring.of(self.brokers)))


def _completed(drawn: Node, wiring: Wiring) -> Node:
    """FastStream's document with our names, texts, bindings, headers and examples, in a fixed order."""
    texts = {name: CHANNELS[name] for name in sorted(drawn["channels"], key=list(CHANNELS).index)}
    roots = [schema for text in texts.values() for schema in (text.payload, text.headers)]
    return {
        "asyncapi": drawn["asyncapi"],
        "id": drawn["id"],
        "info": drawn["info"],
        "defaultContentType": drawn["defaultContentType"],
        "servers": servers(next(iter(drawn["servers"].values()))),
        "channels": {text.key: _channel(name, text, drawn, wiring) for name, text in texts.items()},
        "operations": {text.operation: _operation(name, text, drawn) for name, text in texts.items()},
        "components": {
            "messages": {name: _message(name, text) for name, text in texts.items()},
            "schemas": document_schemas(roots),
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _channel(name: str, text: ChannelText, drawn: Node, wiring: Wiring) -> Node:
    channel: Node = {
        "title": text.title,
        "address": text.address,
        "description": text.description,
        "servers": [{"$ref": "#/servers/rabbitmq"}, {"$ref": "#/servers/rabbitmqTls"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"amqp": wiring.channel(name, drawn["channels"][name]["bindings"]["amqp"])},
    }
    named = parameters(text.address)
    return {**channel, "parameters": named} if named else channel


def _operation(name: str, text: ChannelText, drawn: Node) -> Node:
    operation = drawn["operations"][name]
    return {
        "action": operation["action"],
        "title": text.title,
        "summary": text.summary,
        "tags": [{"name": text.tag}],
        "channel": {"$ref": f"#/channels/{text.key}"},
        "messages": [{"$ref": f"#/channels/{text.key}/messages/{name}"}],
        "bindings": {"amqp": {**operation["bindings"]["amqp"], "cc": [text.address]}},
    }


def _message(name: str, text: ChannelText) -> Node:
    return {
        "name": name,
        "title": name,
        "summary": text.message_summary,
        "contentType": "application/json",
        "tags": [{"name": text.tag}],
        "correlationId": {
            "location": text.correlation_id,
            "description": "Given by upstream, carried into events and logs. The AMQP property correlation_id is kept "
            "too, and stands in for it where the body has none.",
        },
        "payload": {"$ref": REF + text.payload},
        "headers": {"$ref": REF + text.headers},
        "examples": examples()[name],
    }
