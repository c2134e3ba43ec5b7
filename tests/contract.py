"""The contract's document, and an independent validator for what it describes."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft7Validator

from asyncapi.build import document

REF = "#/components/schemas/"


@cache
def contract() -> dict[str, Any]:
    """The document as the code makes it now."""
    content: dict[str, Any] = document().to_jsonable()
    return content


def validator(schema: str) -> Draft7Validator:
    """A validator for one of the document's schemas; AsyncAPI's own are JSON Schema draft 7."""
    return Draft7Validator({"$ref": REF + schema, "components": contract()["components"]})


def problems(schema: str, value: Any) -> list[str]:
    """What is wrong with a value, if anything."""
    return [error.message for error in validator(schema).iter_errors(value)]


def schema_of(message: str, part: str) -> str | None:
    """The name of the schema of a message's `payload` or `headers`."""
    reference = contract()["components"]["messages"][message].get(part)
    return reference["$ref"].removeprefix(REF) if reference else None
