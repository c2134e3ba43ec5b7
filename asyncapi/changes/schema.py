"""Breaking changes of a schema, for those who write it or for those who read it.

A writer is broken by what is no longer allowed, a reader by what was never there before. A removed field breaks both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

Schema = dict[str, Any]
REF: Final = "#/components/schemas/"
# Whether a larger number is the stricter one.
_LIMITS: Final = {
    "minLength": True,
    "minItems": True,
    "minimum": True,
    "maxLength": False,
    "maxItems": False,
    "maximum": False,
}


@dataclass
class Comparison:
    """Compares schemas of two documents.

    Attributes:
        old: The schemas of the released document, by name.
        new: The schemas of the present one.
        others_write: Others write what is described; otherwise they read it.
        found: The breaking changes, one sentence each.
    """

    old: dict[str, Schema]
    new: dict[str, Schema]
    others_write: bool
    found: list[str] = field(default_factory=list)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def compare(self, place: str, old: Schema, new: Schema) -> None:
        """Compare two schemas; a schema that many share is compared once."""
        old, new = _target(old, self.old), _target(new, self.new)
        if (pair := (id(old), id(new))) in self._seen:
            return
        self._seen.add(pair)
        before, after = _flat(old, self.old), _flat(new, self.new)
        self._types(place, before, after)
        self._values(place, before, after)
        if self.others_write:
            self._rules(place, before, after)
        self._fields(place, before, after)
        self._members(place, before, after)
        if "items" in before and "items" in after:
            self.compare(f"{place}[]", before["items"], after["items"])

    def _say(self, place: str, what: str) -> None:
        self.found.append(f"{place}: {what}.")

    def _types(self, place: str, old: Schema, new: Schema) -> None:
        before, after = _types(old), _types(new)
        if self.others_write and after and (not before or before - after):
            self._say(place, f"the type was {_listed(before)}, now only {_listed(after)} is allowed")
        if not self.others_write and before and (not after or after - before):
            self._say(place, f"the type was {_listed(before)}, now it may be {_listed(after)}")

    def _values(self, place: str, old: Schema, new: Schema) -> None:
        before, after = _allowed(old), _allowed(new)
        if self.others_write and after and (not before or before - after):
            self._say(place, f"the values were {_listed(before)}, now only {_listed(after)} are allowed")
        if not self.others_write and before and (not after or after - before):
            self._say(place, f"the values were {_listed(before)}, now there may be {_listed(after)}")

    def _rules(self, place: str, old: Schema, new: Schema) -> None:
        for name, larger_is_stricter in _LIMITS.items():
            before, after = old.get(name), new.get(name)
            if after is None or before == after:
                continue
            if before is None or (after > before) == larger_is_stricter:
                self._say(place, f"{name} was {'unlimited' if before is None else before}, now it is {after}")
        if new.get("pattern") not in {None, old.get("pattern")}:
            self._say(place, f"it must now match {new['pattern']}")
        if (choices := _choices(new)) and choices != _choices(old):
            self._say(place, f"one of {_listed(choices)} is required now")

    def _fields(self, place: str, old: Schema, new: Schema) -> None:
        before, after = old["properties"], new["properties"]
        for name in before:
            if name not in after:
                self._say(f"{place}.{name}", "the field was removed")
            else:
                self.compare(f"{place}.{name}", before[name], after[name])
        if self.others_write:
            for name in sorted(new["required"] - old["required"]):
                self._say(f"{place}.{name}", "the field is required now")
        else:
            for name in sorted((old["required"] - new["required"]) & set(after)):
                self._say(f"{place}.{name}", "the field may be missing now")

    def _members(self, place: str, old: Schema, new: Schema) -> None:
        if not self.others_write and _is_open(old):
            return  # readers already had to accept anything
        before, after = _members(old), _members(new)
        for name in before:
            if name in after:
                self.compare(f"{place} ({name})", before[name], after[name])
            elif self.others_write:
                self._say(place, f"{name} is no longer allowed")
        if not self.others_write and before:
            for name in after.keys() - before.keys():
                self._say(place, f"it may now be {name}")


def _target(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """The schema that is named, or the one that stands there."""
    return schemas[schema["$ref"].removeprefix(REF)] if "$ref" in schema else schema


def _flat(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """The schema with what it is built upon; `properties` and `required` are always there."""
    flat: Schema = {**schema, "properties": {}, "required": set()}
    for part in [*schema.get("allOf", ()), {key: schema.get(key, {}) for key in ("properties", "required")}]:
        inner = _flat(_target(part, schemas), schemas) if "$ref" in part else part
        flat = {**{key: value for key, value in inner.items() if key not in flat}, **flat}
        flat["properties"] = {**flat["properties"], **inner.get("properties", {})}
        flat["required"] = flat["required"] | set(inner.get("required", ()))
    return flat


def _types(schema: Schema) -> set[str]:
    """The JSON types a schema allows; nothing when it allows any."""
    kinds = schema.get("type", [])
    own = {kinds} if isinstance(kinds, str) else set(kinds)
    return own or {kind for option in schema.get("anyOf", ()) for kind in _types(option)}


def _allowed(schema: Schema) -> set[Any]:
    """The values a schema allows; nothing when it does not name them."""
    return {schema["const"]} if "const" in schema else set(schema.get("enum", ()))


def _members(schema: Schema) -> dict[str, Schema]:
    """The named members of a union."""
    options = [*schema.get("oneOf", ()), *schema.get("anyOf", ())]
    return {option["$ref"].removeprefix(REF): option for option in options if "$ref" in option}


def _is_open(schema: Schema) -> bool:
    """Whether a member of the union allows any value."""
    return any(option.keys() <= {"title", "description"} for option in schema.get("anyOf", ()))


def _choices(schema: Schema) -> set[Any]:
    """The fields of which at least one is required."""
    options = [*schema.get("oneOf", ()), *schema.get("anyOf", ())]
    return {name for option in options for name in option.get("required", ()) if "$ref" not in option}


def _listed(values: set[Any]) -> str:
    return " or ".join(sorted(map(str, values))) or "anything"
