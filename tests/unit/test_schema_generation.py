"""How pydantic draws a model for the contract."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from stream.specification.generation import REF, NeverNull, Readable, schema_of


class Part(BaseModel):
    """A part."""

    number: int


class Whole(BaseModel):
    """A whole, on
    two lines.

    And a second paragraph.
    """

    model_config = ConfigDict(extra="allow")

    part: Part | None = Field(default=None, description="May be missing.")
    anything: dict[str, Any]
    text: str | None = None


WHOLE, PARTS = schema_of(Whole, NeverNull)


def test_a_model_is_described_without_noise() -> None:
    assert WHOLE == {
        "title": "Whole",
        "description": "A whole, on two lines.\n\nAnd a second paragraph.",
        "type": "object",
        "required": ["anything"],
        "properties": {
            "part": {"description": "May be missing.", "allOf": [{"$ref": REF + "Part"}]},
            "anything": {"type": "object"},
            "text": {"type": "string"},
        },
    }


def test_the_models_in_it_are_drawn_by_their_names() -> None:
    assert PARTS == {
        "Part": {
            "title": "Part",
            "description": "A part.",
            "type": "object",
            "required": ["number"],
            "properties": {"number": {"type": "integer"}},
        }
    }


def test_null_stays_where_publishers_may_send_it() -> None:
    message, _ = schema_of(Whole, Readable)
    assert message["properties"]["text"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
