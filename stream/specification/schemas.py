"""The schemas: FastStream's for the models it was given, ours for payloads and headers, all made readable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from pydantic import TypeAdapter

from stream.specification.header_schemas import ERROR_TYPE, MOMENT, header_schemas
from stream.specification.payloads.envelope import Envelope
from stream.specification.payloads.union import WabaPayload

Schema = dict[str, Any]
REF: Final = "#/components/schemas/"
_KEYS: Final = ("title", "description", "discriminator", "type", "const", "enum", "required", "properties")

# What pydantic cannot say of the events' fields, and publishers of the models need not know.
_EVENT_FIELDS: Final[dict[str, Schema]] = {
    "tenantId": {"description": "metadata.tenantId of the message."},
    "internalId": {"description": "metadata.internalId of the message."},
    "phoneNumberId": {"description": "Meta's id of the sending number."},
    "correlationId": {"description": "metadata.correlationId of the message; absent when it had none."},
    "templateName": {"description": "The template's name; absent for other types."},
    "httpStatus": {
        "description": "Meta's HTTP status; absent when there was no answer.",
        "minimum": 100,
        "maximum": 599,
    },
    "meaning": {"description": "What the error means, for people; from the error table."},
    "advice": {"description": "What to do about it, for people; from the error table."},
    "wamid": {"minLength": 1},
    "attempts": {"minimum": 1},
    "processMs": {"minimum": 0},
    "errorType": ERROR_TYPE,
    "firstSeenAt": MOMENT,
    "sentAt": MOMENT,
    "failedAt": MOMENT,
    "scope": {"enum": ["message", "recipient", "pair", "phone_number", "tenant", "platform"]},
}


def document_schemas(drawn: dict[str, Schema], roots: list[str]) -> dict[str, Schema]:
    """Every schema of the document, in the order in which a reader meets them.

    Args:
        drawn: FastStream's schemas, from the application's own models.
        roots: The schemas that messages name.
    """
    schemas = {
        **{name: _readable(schema) for name, schema in drawn.items()},
        **_payload_schemas(),
        **header_schemas(),
        "DeadLetterBody": _DEAD_LETTER_BODY,
    }
    schemas["OutboundMessage"]["properties"]["wabaPayload"] = {"$ref": REF + "WabaPayload"}
    for name in ("DeliverySent", "DeliveryAlert"):
        schemas[name] = _event(schemas[name])
    return {name: _ordered(schemas[name]) for name in _reached(schemas, roots)}


_DEAD_LETTER_BODY: Final[Schema] = {
    "description": "The original bytes, untouched, with the content type they came with. They need not be a message of "
    "this contract, nor JSON: those of INVALID_MESSAGE are what could not be read.",
    "anyOf": [{"$ref": REF + "OutboundMessage"}, {"title": "Any other content"}],
}


def _payload_schemas() -> dict[str, Schema]:
    whole = TypeAdapter[Any](WabaPayload).json_schema(ref_template=REF + "{model}")
    schemas = {name: _never_null(_readable(schema)) for name, schema in whole.pop("$defs").items()}
    envelope = _never_null(_readable(TypeAdapter(Envelope).json_schema(ref_template=REF + "{model}")))
    envelope.pop("$defs", None)
    kinds = [option["$ref"].removeprefix(REF) for option in whole["oneOf"]]
    return {
        **schemas,
        **{kind: _on_top_of(envelope, schemas[kind]) for kind in kinds},
        "Envelope": envelope,
        "WabaPayload": whole,
    }


def _on_top_of(envelope: Schema, schema: Schema) -> Schema:
    """The schema without what it shares with the envelope, which it names instead."""
    own = {key: value for key, value in schema.items() if envelope.get(key) != value}
    own["properties"] = {
        name: field for name, field in schema["properties"].items() if name not in envelope["properties"]
    }
    own["required"] = [name for name in schema["required"] if name not in envelope["required"]]
    return {**own, "type": "object", "allOf": [{"$ref": REF + "Envelope"}]}


def _event(schema: Schema) -> Schema:
    """An event as it is sent: a field without a value is left out, never null."""
    event: Schema = _never_null(schema)
    for name, more in _EVENT_FIELDS.items():
        if name in event["properties"]:
            event["properties"][name] = {**more, **event["properties"][name]}
    return event


def _readable(value: Any) -> Any:
    """Drop what pydantic adds for machines only: titles made from field names, and "anything else is allowed"."""
    return _walk(value, _without_noise)


def _never_null(value: Schema) -> Any:
    return _walk(value, _without_null)


def _walk(value: Any, change: Callable[[Schema], Schema]) -> Any:
    """Change every schema in `value`, inner ones first; the names of properties are not schemas."""
    if isinstance(value, list):
        return [_walk(item, change) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {
        key: {name: _walk(field, change) for name, field in item.items()}
        if key == "properties"
        else _walk(item, change)
        for key, item in value.items()
    }
    return change(inner)


def _without_noise(schema: Schema) -> Schema:
    noise = (("additionalProperties", True), ("default", None))
    kept = {key: value for key, value in schema.items() if (key, value) not in noise}
    if "properties" not in schema and "oneOf" not in schema:
        kept.pop("title", None)
    if isinstance(text := kept.get("description"), str):
        kept["description"] = "\n\n".join(part.replace("\n", " ") for part in text.split("\n\n"))
    return kept


def _without_null(schema: Schema) -> Schema:
    kept = dict(schema)
    options = [option for option in kept.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1 and len(kept["anyOf"]) > 1:
        del kept["anyOf"]
        only = options[0]
        # What stands beside a $ref is ignored.
        kept = {**kept, "allOf": [only]} if "$ref" in only and kept else {**only, **kept}
    return kept


def _ordered(value: Any) -> Any:
    """The keys of every schema in the order in which people read them."""
    return _walk(value, lambda schema: dict(sorted(schema.items(), key=lambda item: _place(item[0]))))


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
