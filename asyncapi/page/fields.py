"""A schema as a list of fields: small parts unfold in place, the named members of a union are linked."""

from __future__ import annotations

import json
from typing import Any, Final

from asyncapi.page.html import Html, code, join, tag, ticked

Schema = dict[str, Any]
REF: Final = "#/components/schemas/"
_LIMITS: Final = (
    ("minLength", "maxLength", "characters"),
    ("minItems", "maxItems", "items"),
    ("minimum", "maximum", ""),
)
_FOLDED_FROM: Final = 1  # how deep fields stand open


class Fields:
    """Draws schemas.

    Args:
        schemas: The document's schemas.
        linked: Schemas that have a place of their own on the page, which is linked instead of drawn again.
    """

    def __init__(self, schemas: dict[str, Schema], linked: frozenset[str]) -> None:
        self._schemas = schemas
        self._linked = linked

    def draw(self, name: str) -> Html:
        """The fields of a named schema."""
        return self._list(self._schemas[name], f"schema-{name}", depth=0)

    def _list(self, schema: Schema, place: str, depth: int) -> Html:
        flat = self._flat(schema)
        needed = set(flat.get("required", ()))
        fields = [
            self._field(name, field, f"{place}.{name}", depth, needed=name in needed)
            for name, field in flat.get("properties", {}).items()
        ]
        rules = [tag("li", rule) for rule in _rules(flat)]
        return join(
            tag("ul", *rules, class_="rules") if rules else "", tag("ul", *fields, class_="fields") if fields else ""
        )

    def _field(self, name: str, field: Schema, place: str, depth: int, *, needed: bool) -> Html:
        about = self._about(field)
        line = tag(
            "div",
            code(name),
            tag("span", self._type(field), class_="type"),
            tag("span", "required", class_="chip need") if needed else "",
            *(tag("span", limit, class_="chip") for limit in self._limits(field)),
            class_="line",
        )
        return tag(
            "li",
            line,
            tag("p", ticked(about), class_="about") if about else "",
            self._inside(field, place, depth),
            class_="field",
            id=place,
            data_find=name,
            data_kind=place.removeprefix("schema-").rsplit(".", 1)[0].replace(".", " > "),
        )

    def _inside(self, field: Schema, place: str, depth: int) -> Html:
        inner = self._target(field.get("items", field))
        if not inner or _named(field.get("items", field)) in self._linked:
            return Html("")
        flat = self._flat(inner)
        if "properties" not in flat:
            return Html("")
        drawn = self._list(inner, place, depth + 1)
        count = len(flat["properties"])
        title = f"{count} field{'' if count == 1 else 's'}"
        return tag("details", tag("summary", title), drawn, open=depth < _FOLDED_FROM)

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

    def _type(self, field: Schema) -> Html:
        name = _named(field)
        if name:
            label = tag("a", name, href=f"#schema-{name}") if name in self._linked else Html(name)
            return label if name in self._linked else tag("span", str(self._schemas[name].get("type", "object")))
        if "items" in field:
            return join("array of ", self._type(field["items"]))
        if "anyOf" in field and "type" not in field:
            return join(*_between(" or ", [self._type(option) for option in field["anyOf"]]))
        kind = field.get("type", "any")
        return Html(" or ".join(kind)) if isinstance(kind, list) else Html(kind)

    def _limits(self, field: Schema) -> list[str]:
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


def _rules(schema: Schema) -> list[Html]:
    rules = []
    for key, words in (("oneOf", "exactly one of"), ("anyOf", "at least one of")):
        options = [option["required"] for option in schema.get(key, ()) if list(option) == ["required"]]
        if options:
            rules.append(
                join(f"{words} ".capitalize(), *_between(", ", [code(" and ".join(names)) for names in options]))
            )
    conditions = [part for part in schema.get("allOf", ()) if "if" in part]
    if conditions:
        rules.append(join("The field that ", code("type"), " names is required"))
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


def _between(separator: str, parts: list[Html]) -> list[str]:
    joined: list[str] = []
    for part in parts:
        joined += [separator, part] if joined else [part]
    return joined
