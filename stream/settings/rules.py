"""What a number or a choice must be, made of the field that says so. A text's rules are in `stream.settings.checks`."""

from __future__ import annotations

from typing import Final

from stream.settings.model import Settings

_UNITS: Final = {"ms": " of milliseconds", "bytes": " of bytes"}


def rule_of(name: str) -> str:
    """What a setting must be: a number with its unit and bounds, or one of a few words."""
    schema = Settings.model_json_schema()["properties"][name]
    schema = schema.get("anyOf", [schema])[0]  # the other one: unset
    if "enum" in schema:
        return f"must be one of {', '.join(schema['enum'])}"
    kind = "whole number" if schema["type"] == "integer" else "number"
    rule = f"must be a {kind}{_UNITS.get(name.rpartition('_')[2], '')}"
    if "maximum" not in schema:  # its bounds depend on other settings
        return rule
    least = f"from {schema['minimum']}" if "minimum" in schema else f"above {schema['exclusiveMinimum']}"
    return f"{rule} {least} up to {schema['maximum']}"
