"""The messages: headers, body and examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from asyncapi.page.examples import Example, example
from asyncapi.page.fields import REF, FieldList, Fields

Node = dict[str, Any]
_TITLES: Final = {
    "UpstreamHeaders": "From upstream",
    "TraceHeaders": "Trace",
    "InstructionHeaders": "Instructions",
    "RetryHeaders": "History",
    "ReplayHeaders": "Replays",
    "FailureHeaders": "Why it failed",
    "OriginalHeaders": "Set aside",
    "BrokerDeadLetterHeaders": "By RabbitMQ",
}


@dataclass(frozen=True)
class HeaderGroup:
    """Headers that belong together."""

    name: str
    title: str
    description: str
    fields: FieldList


@dataclass(frozen=True)
class HeaderLine:
    """The headers of one group that a message has; `before` is the word before a group that is one of two."""

    name: str
    title: str
    before: str
    headers: list[str]


@dataclass(frozen=True)
class Body:
    """A message's body: its fields, or the messages that it usually is."""

    description: str
    fields: FieldList | None
    usually: list[str]


@dataclass(frozen=True)
class Message:
    """A message as the page shows it."""

    name: str
    content_type: str
    summary: str
    about_headers: str
    header_lines: list[HeaderLine]
    body: Body
    correlation_id: Node
    examples: list[Example]


def messages(document: Node, fields: Fields) -> list[Message]:
    """All messages."""
    components = document["components"]
    return [_message(name, message, components["schemas"], fields) for name, message in components["messages"].items()]


def header_groups(schemas: Node, fields: Fields) -> list[HeaderGroup]:
    """The groups of headers that messages are made of."""
    return [HeaderGroup(name, title, schemas[name]["description"], fields.of(name)) for name, title in _TITLES.items()]


def _message(name: str, message: Node, schemas: Node, fields: Fields) -> Message:
    headers = schemas[_target(message["headers"])]
    return Message(
        name=name,
        content_type=message["contentType"],
        summary=message["summary"],
        about_headers=headers["description"],
        header_lines=_header_lines(headers, schemas),
        body=_body(_target(message["payload"]), schemas, fields),
        correlation_id=message["correlationId"],
        examples=[example(one) for one in message["examples"]],
    )


def _header_lines(headers: Node, schemas: Node) -> list[HeaderLine]:
    always = [("", part) for part in headers["allOf"]]
    one_of_two = zip(("either ", "or "), headers.get("anyOf", ()), strict=False)
    return [_header_line(before, _target(part), schemas) for before, part in (*always, *one_of_two)]


def _header_line(before: str, name: str, schemas: Node) -> HeaderLine:
    return HeaderLine(name, _TITLES[name], before, list(schemas[name]["properties"]))


def _body(name: str, schemas: Node, fields: Fields) -> Body:
    usually = [_target(option) for option in schemas[name].get("anyOf", ()) if "$ref" in option]
    return Body(schemas[name]["description"], None if usually else fields.of(name), usually)


def _target(reference: Node) -> str:
    return str(reference["$ref"]).removeprefix(REF)
