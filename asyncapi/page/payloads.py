"""The payload types: every member of the unions has a place of its own, with its fields and its examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from asyncapi.page.examples import Example, example
from asyncapi.page.fields import REF, FieldList, Fields

Node = dict[str, Any]
_UNIONS: Final = {
    "WabaPayload": ("Payload types", "payloads"),
    "InteractiveContent": ("Interactive messages", "interactive"),
    "TemplateComponent": ("Template components", "components"),
}
_ENVELOPE: Final = "Envelope"


@dataclass(frozen=True)
class Payload:
    """A member of a union, or what every payload has; `paragraphs` are its description's."""

    name: str
    title: str
    description: str
    paragraphs: list[str]
    is_on_envelope: bool
    fields: FieldList
    examples: list[Example]


@dataclass(frozen=True)
class PayloadUnion:
    """A union; `ident` is its section's id."""

    name: str
    title: str
    ident: str
    description: str
    members: list[Payload]


def linked(schemas: Node) -> frozenset[str]:
    """Every schema with a place of its own in this part of the page."""
    return frozenset([_ENVELOPE, *_UNIONS, *(name for union in _UNIONS for name in _members(schemas, union))])


def envelope(schemas: Node, fields: Fields) -> Payload:
    """What every payload has."""
    return _payload(schemas, _ENVELOPE, "Every payload", fields, [])


def unions(document: Node, fields: Fields) -> list[PayloadUnion]:
    """All unions."""
    return [_union(document, name, fields) for name in _UNIONS]


def _union(document: Node, union: str, fields: Fields) -> PayloadUnion:
    schemas = document["components"]["schemas"]
    title, ident = _UNIONS[union]
    members = [
        _payload(schemas, name, _kind(schemas, name) or "any other", fields, _shown(document, union, name))
        for name in _members(schemas, union)
    ]
    return PayloadUnion(union, title, ident, schemas[union]["description"], members)


def _members(schemas: Node, union: str) -> list[str]:
    """The names of a union's members, in its order."""
    return [option["$ref"].removeprefix(REF) for option in schemas[union]["oneOf"]]


def _kind(schemas: Node, name: str) -> str | None:
    """The value of `type` that a member stands for; `None` for the open end of its union."""
    value = schemas[name]["properties"]["type"].get("const")
    return str(value) if value else None


def _payload(schemas: Node, name: str, title: str, fields: Fields, shown: list[Node]) -> Payload:
    schema = schemas[name]
    return Payload(
        name=name,
        title=title,
        description=schema["description"],
        paragraphs=schema["description"].split("\n\n"),
        is_on_envelope={"$ref": REF + _ENVELOPE} in schema.get("allOf", ()),
        fields=fields.of(name),
        examples=[example(one) for one in shown],
    )


def _shown(document: Node, union: str, name: str) -> list[Node]:
    """The examples of OutboundMessage that show a member."""
    schemas = document["components"]["schemas"]
    known = {_kind(schemas, other) for other in _members(schemas, union)}
    wanted = _kind(schemas, name)
    examples = document["components"]["messages"]["OutboundMessage"]["examples"]
    return [one for one in examples if _matches(_of_union(one["payload"]["wabaPayload"], union), wanted, known)]


def _of_union(payload: Node, union: str) -> list[str]:
    """The types that a payload shows of a union."""
    if union == "WabaPayload":
        return [payload["type"]]
    if union == "InteractiveContent":
        return [payload["interactive"]["type"]] if "interactive" in payload else []
    return [component["type"] for component in payload.get("template", {}).get("components", ())]


def _matches(shown: list[str], wanted: str | None, known: set[str | None]) -> bool:
    return any(one == wanted or (wanted is None and one not in known) for one in shown)
