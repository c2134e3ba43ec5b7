"""The schemas of the document: of messages, payloads and events as pydantic draws them, and of headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from stream.contract.messages import OutboundMessage
from stream.contract.publications import ALERT, SENT
from stream.specification.generation import REF, NeverNull, Readable, Schema, schema_of
from stream.specification.header_schemas import header_schemas
from stream.specification.payloads.envelope import Envelope
from stream.specification.payloads.union import WabaPayload

_KEYS: Final = ("title", "description", "discriminator", "type", "const", "enum", "required", "properties")


def document_schemas(roots: list[str]) -> dict[str, Schema]:
    """Every schema of the document, in the order in which a reader meets them.

    Args:
        roots: The schemas that messages name.
    """
    schemas = {
        **_message_schemas(),
        **_payload_schemas(),
        **header_schemas(),
        **{event.name: schema_of(event.body, NeverNull)[0] for event in (SENT, ALERT)},
        "DeadLetterBody": _DEAD_LETTER_BODY,
    }
    return {name: _ordered(schemas[name]) for name in _reached(schemas, roots)}


_DEAD_LETTER_BODY: Final[Schema] = {
    "description": "The original bytes, untouched, with the content type they came with. They need not be a message of "
    "this contract, nor JSON: those of INVALID_MESSAGE are what could not be read.",
    "anyOf": [{"$ref": REF + "OutboundMessage"}, {"title": "Any other content"}],
}


def _message_schemas() -> dict[str, Schema]:
    message, parts = schema_of(OutboundMessage, Readable)
    message["properties"]["wabaPayload"] = {"$ref": REF + "WabaPayload"}
    return {**parts, "OutboundMessage": message}


def _payload_schemas() -> dict[str, Schema]:
    payload, parts = schema_of(WabaPayload, NeverNull)
    envelope, _ = schema_of(Envelope, NeverNull)
    kinds = [option["$ref"].removeprefix(REF) for option in payload["oneOf"]]
    own = {kind: _on_top_of(envelope, parts[kind]) for kind in kinds}
    return {**parts, **own, "Envelope": envelope, "WabaPayload": payload}


def _on_top_of(envelope: Schema, schema: Schema) -> Schema:
    """The schema without what it shares with the envelope, which it names instead."""
    own = {key: value for key, value in schema.items() if envelope.get(key) != value}
    own["properties"] = {
        name: field for name, field in schema["properties"].items() if name not in envelope["properties"]
    }
    own["required"] = [name for name in schema["required"] if name not in envelope["required"]]
    return {**own, "type": "object", "allOf": [{"$ref": REF + "Envelope"}]}


def _ordered(value: Any) -> Any:
    """The keys of every schema in the order in which people read them; the names of properties keep theirs."""
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {name: _ordered(field) for name, field in value[key].items()}
        if key == "properties"
        else _ordered(value[key])
        for key in sorted(value, key=_place)
    }


def _place(key: str) -> int:
    return _KEYS.index(key) if key in _KEYS else len(_KEYS)


def _reached(schemas: dict[str, Schema], roots: list[str]) -> list[str]:
    """The names of the schemas that are used, each where it is first named."""
    found = list(dict.fromkeys(roots))
    for name in found:  # grows while it is walked
        found.extend(other for other in dict.fromkeys(_refs(schemas[name])) if other not in found)
    return found


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield str(item).removeprefix(REF)
            else:
                yield from _refs(item)
    elif isinstance(value, list):
        for item in value:
            yield from _refs(item)
