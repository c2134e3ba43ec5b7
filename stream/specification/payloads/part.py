"""What all parts of a payload share: unknown fields are allowed, and a few rules that JSON Schema needs in words."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field

EXACTLY_ONE_MEDIA_SOURCE: dict[str, Any] = {"oneOf": [{"required": ["id"]}, {"required": ["link"]}]}

Text = Annotated[str, Field(min_length=1)]
Title = Annotated[str, Field(min_length=1, max_length=20)]


class Part(BaseModel):
    """An object of Meta's API. Meta adds fields without notice, so none is forbidden."""

    model_config = ConfigDict(extra="allow")


def one_of_types(schema: dict[str, Any]) -> None:
    """Turn pydantic's `anyOf` into a union that is told apart by `type`."""
    schema["oneOf"] = schema.pop("anyOf")
    schema["type"] = "object"
    schema["required"] = ["type"]
    schema["properties"] = {"type": {"type": "string"}}
    schema["discriminator"] = "type"


def types_in(union: Any) -> list[str]:
    """The values of `type` that a union of models stands for."""
    return [str(get_args(model.model_fields["type"].annotation)[0]) for model in get_args(union)]


def any_type_but(union: Any) -> dict[str, Any]:
    """A rule for the open end of a union: every type that has no model of its own."""
    return {"not": {"enum": types_in(union)}}


def same_named(*types: str) -> dict[str, Any]:
    """A rule: for each of these values of `type`, the property of the same name is required."""
    return {
        "allOf": [{"if": {"properties": {"type": {"const": kind}}}, "then": {"required": [kind]}} for kind in types]
    }
