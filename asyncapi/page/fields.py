"""A schema as a list of fields: small parts unfold in place, the named members of a union are linked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

Schema = dict[str, Any]
REF: Final = "#/components/schemas/"
_LIMITS: Final = (
    ("minLength", "maxLength", "characters"),
    ("minItems", "maxItems", "items"),
    ("minimum", "maximum", ""),
)
_FOLDED_FROM: Final = 1  # how deep fields stand open


@dataclass(frozen=True)
class Word:
    """A part of a type's name; `schema` is the one that it links to, or `""`."""

    text: str
    schema: str = ""


@dataclass(frozen=True)
class FieldList:
    """The fields of a schema, and the rules between them; `ticks` in a rule mark code."""

    rules: list[str]
    fields: list[Field]


@dataclass(frozen=True)
class Field:
    """A field; `place` is its id on the page, `within` names what it is part of, `inside` are its own fields."""

    name: str
    place: str
    within: str
    type: list[Word]
    is_required: bool
    limits: list[str]
    about: str
    inside: FieldList | None
    is_open: bool


class Fields:
    """Reads schemas.

    Args:
        schemas: The document's schemas.
        linked: Schemas that have a place of their own on the page, which is linked instead of shown again.
    """

    def __init__(self, schemas: dict[str, Schema], linked: frozenset[str]) -> None:
        self._schemas = schemas
        self._linked = linked

    def of(self, name: str) -> FieldList:
        """The fields of a named schema."""
        return self._list(self._schemas[name], f"schema-{name}", depth=0)

    def _list(self, schema: Schema, place: str, depth: int) -> FieldList:
        flat = self._flat(schema)
        needed = set(flat.get("required", ()))
        fields = [
            self._field(name, field, f"{place}.{name}", depth, is_required=name in needed)
            for name, field in flat.get("properties", {}).items()
        ]
        return FieldList(_rules(flat), fields)

    def _field(self, name: str, field: Schema, place: str, depth: int, *, is_required: bool) -> Field:
        return Field(
            name=name,
            place=place,
            within=place.removeprefix("schema-").rsplit(".", 1)[0].replace(".", " > "),
            type=self._type(field),
            is_required=is_required,
            limits=_limits(field),
            about=self._about(field),
            inside=self._inside(field, place, depth),
            is_open=depth < _FOLDED_FROM,
        )

    def _inside(self, field: Schema, place: str, depth: int) -> FieldList | None:
        inner = self._target(field.get("items", field))
        if not inner or _named(field.get("items", field)) in self._linked:
            return None
        return self._list(inner, place, depth + 1) if "properties" in self._flat(inner) else None

    def _target(self, schema: Schema) -> Schema:
        name = _named(schema)
        return self._schemas[name] if name else schema

    def _flat(self, schema: Schema) -> Schema:
        """A schema with the fields of those that it is built upon, unless they have a place of their own."""
        flat = {
            **schema,
            "properties": dict(schema.get("properties", {})),
            "required": list(schema.get("required", ())),
        }
        for part in schema.get("allOf", ()):
            name = _named(part)
            if name and name not in self._linked:
                inner = self._flat(self._schemas[name])
                flat["properties"] = {**inner["properties"], **flat["properties"]}
                flat["required"] += inner["required"]
        if not flat["properties"]:
            del flat["properties"]
        return flat

    def _about(self, field: Schema) -> str:
        own = str(field.get("description", ""))
        target = self._target(field.get("items", field))
        return own or str(target.get("description", ""))

    def _type(self, field: Schema) -> list[Word]:
        name = _named(field)
        if name:
            return [Word(name, name) if name in self._linked else Word(str(self._schemas[name].get("type", "object")))]
        if "items" in field:
            return [Word("array of "), *self._type(field["items"])]
        if "anyOf" in field and "type" not in field:
            options = [self._type(option) for option in field["anyOf"]]
            return [*options[0], *(word for option in options[1:] for word in (Word(" or "), *option))]
        kind = field.get("type", "any")
        return [Word(" or ".join(kind) if isinstance(kind, list) else kind)]


def _limits(field: Schema) -> list[str]:
    limits = [f"always {json.dumps(field['const'])}"] if "const" in field else []
    limits += [" | ".join(map(str, field["enum"]))] if "enum" in field else []
    for low, high, unit in _LIMITS:
        limits += _range(field.get(low), field.get(high), unit)
    limits += [f"default {json.dumps(field['default'])}"] if "default" in field else []
    limits += [field["format"]] if "format" in field else []
    limits += [f"pattern {field['pattern']}"] if "pattern" in field and "format" not in field else []
    return limits


def _named(schema: Schema) -> str | None:
    """The schema that a field names, directly or beside its own words."""
    only = schema["allOf"][0] if len(schema.get("allOf", ())) == 1 and "properties" not in schema else schema
    reference = only.get("$ref")
    return str(reference).removeprefix(REF) if reference else None


def _rules(schema: Schema) -> list[str]:
    rules = []
    for key, words in (("oneOf", "Exactly one of"), ("anyOf", "At least one of")):
        options = [option["required"] for option in schema.get(key, ()) if list(option) == ["required"]]
        if options:
            rules.append(f"{words} " + ", ".join(f"`{' and '.join(names)}`" for names in options))
    if any("if" in part for part in schema.get("allOf", ())):
        rules.append("The field that `type` names is required")
    return rules


def _range(low: float | None, high: float | None, unit: str) -> list[str]:
    unit = f" {unit}" if unit else ""
    if low is not None and high is not None:
        return [f"exactly {low:,}" if low == high else f"{low:,} to {high:,}{unit}"]
    if high is not None:
        return [f"at most {high:,}{unit}"]
    if low is not None and (low, unit) not in {(1, " characters"), (1, " items")}:
        return [f"at least {low:,}{unit}"]
    return ["not empty"] if low is not None else []
