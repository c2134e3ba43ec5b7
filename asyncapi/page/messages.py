"""The messages: headers, body and examples."""

from __future__ import annotations

from typing import Any, Final

from asyncapi.page.fields import REF, Fields
from asyncapi.page.html import Html, code, join, json_block, tag, ticked
from asyncapi.page.markdown import section

Node = dict[str, Any]
_HEADERS: Final = {
    "UpstreamHeaders": "From upstream",
    "TraceHeaders": "Trace",
    "InstructionHeaders": "Instructions",
    "RetryHeaders": "History",
    "FailureHeaders": "Why it failed",
    "OriginalHeaders": "Set aside",
    "BrokerDeadLetterHeaders": "By RabbitMQ",
}


def messages(document: Node, fields: Fields) -> Html:
    """All messages."""
    components = document["components"]
    cards = [_message(name, message, components["schemas"], fields) for name, message in components["messages"].items()]
    return section("Messages", join(*cards), "messages", "Bodies, headers and examples")


def headers(document: Node, fields: Fields) -> Html:
    """The groups of headers that messages are made of."""
    schemas = document["components"]["schemas"]
    cards = [
        tag(
            "article",
            tag("header", tag("h3", title), code(name)),
            tag("p", schemas[name]["description"]),
            fields.draw(name),
            id=f"schema-{name}",
            data_find=name,
            data_kind="headers",
            data_about=schemas[name]["description"],
        )
        for name, title in _HEADERS.items()
    ]
    return section("Headers", join(*cards), "headers", "Instructions, retry history, failure reason")


def _message(name: str, message: Node, schemas: Node, fields: Fields) -> Html:
    payload = message["payload"]["$ref"].removeprefix(REF)
    correlation = message["correlationId"]
    return tag(
        "article",
        tag("header", tag("h3", name), tag("span", message["contentType"], class_="chip")),
        tag("p", ticked(message["summary"])),
        tag("h4", "Headers"),
        _header_groups(message, schemas),
        tag("h4", "Body"),
        _body(payload, schemas, fields),
        tag("h4", "Correlation id"),
        tag("p", code(correlation["location"]), " ", ticked(correlation["description"])),
        tag("h4", "Examples"),
        *(example(one) for one in message["examples"]),
        id=f"message-{name}",
        data_find=name,
        data_kind="message",
        data_about=message["summary"],
    )


def _header_groups(message: Node, schemas: Node) -> Html:
    schema = schemas[message["headers"]["$ref"].removeprefix(REF)]
    always = [part["$ref"].removeprefix(REF) for part in schema["allOf"]]
    either = [part["$ref"].removeprefix(REF) for part in schema.get("anyOf", ())]
    lines = [_group(name, schemas, "") for name in always]
    lines += [_group(name, schemas, word) for name, word in zip(either, ("either ", "or "), strict=False)]
    return join(tag("p", ticked(schema["description"])), tag("ul", *lines))


def _group(name: str, schemas: Node, before: str) -> Html:
    link = tag("a", _HEADERS[name], href=f"#schema-{name}")
    names = list(schemas[name]["properties"])
    return tag("li", before, link, ": ", *(part for one in names for part in (code(one), " ")))


def _body(name: str, schemas: Node, fields: Fields) -> Html:
    about = tag("p", ticked(schemas[name]["description"]))
    options = [option["$ref"].removeprefix(REF) for option in schemas[name].get("anyOf", ()) if "$ref" in option]
    if not options:
        return join(about, fields.draw(name))
    links = [tag("a", option, href=f"#message-{option}") for option in options]
    return join(about, tag("p", "Usually ", *links, "."))


def example(one: Node) -> Html:
    """One example, folded."""
    given = one.get("headers")
    return tag(
        "details",
        tag("summary", code(one["name"]), one["summary"]),
        tag(
            "div",
            join(tag("h4", "Headers"), json_block(given)) if given else "",
            tag("h4", "Body"),
            json_block(one["payload"]),
        ),
        class_="example",
    )
