"""How pydantic draws the contract's schemas: for people, and with references as JSON Schema's draft 7 reads them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema
from typing_extensions import override

Schema = dict[str, Any]
REF: Final = "#/components/schemas/"
_ANYTHING_ELSE: Final = ("additionalProperties", True)  # so it is wherever nothing is said


class Readable(GenerateJsonSchema):
    """Draws schemas without titles made of field names, "anything else is allowed", and defaults of null."""

    @override
    def generate_inner(self, schema: Any) -> Schema:
        """Sort the keys by the alphabet, but let those of an optional field follow those of its type.

        So the released document has them: a change of their order would look like a change of the contract.
        """
        drawn = super().generate_inner(schema)
        if len(drawn) > 1 and (ref := drawn.pop("$ref", None)):  # what stands beside a reference is ignored
            drawn["allOf"] = [{"$ref": ref}]
        return drawn if _is_optional(schema) else dict(sorted(drawn.items()))

    @override
    def sort(self, value: Schema, parent_key: str | None = None) -> Schema:
        """Leave the keys as `generate_inner` has sorted them."""
        return value

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        """A field has its name."""
        return False

    @override
    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        """Describe a model by its docstring, a line a paragraph."""
        drawn = _without(super().model_schema(schema), _ANYTHING_ELSE)
        paragraphs = drawn["description"].split("\n\n")
        return {**drawn, "description": "\n\n".join(text.replace("\n", " ") for text in paragraphs)}

    @override
    def dict_schema(self, schema: core_schema.DictSchema) -> Schema:
        """An object of any content."""
        return _without(super().dict_schema(schema), _ANYTHING_ELSE)

    @override
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        """A default of null says that a field may be left out, as `required` does."""
        return _without(super().default_schema(schema), ("default", None))


class NeverNull(Readable):
    """The same, where a field without a value is left out, and never null."""

    @override
    def nullable_schema(self, schema: core_schema.NullableSchema) -> Schema:
        """What the field holds when it is there."""
        return self.generate_inner(schema["schema"])


def schema_of(kind: Any, generator: type[GenerateJsonSchema]) -> tuple[Schema, dict[str, Schema]]:
    """The schema of a type, and those of the models in it by their names."""
    whole = TypeAdapter[Any](kind).json_schema(ref_template=REF + "{model}", schema_generator=generator)
    return whole, whole.pop("$defs", {})


def _is_optional(schema: Any) -> bool:
    return bool(schema["type"] == "model-field" and schema["schema"]["type"] == "default")


def _without(schema: Schema, noise: tuple[str, object]) -> Schema:
    return {key: value for key, value in schema.items() if (key, value) != noise}
