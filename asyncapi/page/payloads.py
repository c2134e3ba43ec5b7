"""The payload types: every member of the unions has a place of its own, with its fields and its examples."""

from __future__ import annotations

from typing import Any, Final

from asyncapi.page.fields import REF, Fields
from asyncapi.page.html import Html, code, join, tag, ticked
from asyncapi.page.markdown import section
from asyncapi.page.messages import example

Node = dict[str, Any]
UNIONS: Final = {
    "WabaPayload": ("Payload types", "payloads"),
    "InteractiveContent": ("Interactive messages", "interactive"),
    "TemplateComponent": ("Template components", "components"),
}
ENVELOPE: Final = "Envelope"


def members(schemas: Node, union: str) -> list[str]:
    """The names of a union's members, in its order."""
    return [option["$ref"].removeprefix(REF) for option in schemas[union]["oneOf"]]


def linked(schemas: Node) -> frozenset[str]:
    """Every schema with a place of its own in this part of the page."""
    return frozenset([ENVELOPE, *UNIONS, *(name for union in UNIONS for name in members(schemas, union))])


def kind(schemas: Node, name: str) -> str | None:
    """The value of `type` that a member stands for; `None` for the open end of its union."""
    value = schemas[name]["properties"]["type"].get("const")
    return str(value) if value else None


def payloads(document: Node, fields: Fields) -> Html:
    """All unions."""
    return join(*(_union(document, name, fields) for name in UNIONS))


def _union(document: Node, union: str, fields: Fields) -> Html:
    schemas = document["components"]["schemas"]
    title, ident = UNIONS[union]
    names = members(schemas, union)
    index = tag("ul", *(tag("li", _tile(schemas, name)) for name in names), class_="columns")
    envelope = _card(schemas, ENVELOPE, "Every payload", fields, []) if union == "WabaPayload" else Html("")
    cards = [
        _card(schemas, name, kind(schemas, name) or "any other", fields, _shown(document, union, name))
        for name in names
    ]
    body = join(
        tag("div", tag("p", ticked(schemas[union]["description"])), id=f"schema-{union}"), index, envelope, *cards
    )
    return section(title, body, ident)


def _tile(schemas: Node, name: str) -> Html:
    return tag(
        "a",
        tag("strong", kind(schemas, name) or "any other"),
        tag("span", ticked(schemas[name]["description"].split("\n\n")[0])),
        href=f"#schema-{name}",
    )


def _card(schemas: Node, name: str, title: str, fields: Fields, shown: list[Node]) -> Html:
    schema = schemas[name]
    on_top = {"$ref": REF + ENVELOPE} in schema.get("allOf", ())
    base = tag("p", "Besides what ", tag("a", "every payload", href=f"#schema-{ENVELOPE}"), " has:") if on_top else ""
    return tag(
        "article",
        tag("header", tag("h3", title), code(name)),
        *(tag("p", ticked(part)) for part in schema["description"].split("\n\n")),
        base,
        fields.draw(name),
        join(tag("h4", "Examples"), *(example(one) for one in shown)) if shown else "",
        id=f"schema-{name}",
        data_find=title,
        data_kind="payload",
        data_about=schema["description"].replace("`", ""),
        data_more=name,
    )


def _shown(document: Node, union: str, name: str) -> list[Node]:
    """The examples of OutboundMessage that show a member."""
    schemas = document["components"]["schemas"]
    known = {kind(schemas, other) for other in members(schemas, union)}
    wanted = kind(schemas, name)
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
