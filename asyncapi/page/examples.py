"""Examples of messages: their JSON in pieces, so that the page can colour it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

_COLOURED: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d[\d.eE+-]*|true|false|null)'
)
_CLASS: Final = {"key": "k", "string": "s", "number": "n"}


@dataclass(frozen=True)
class Piece:
    """A piece of JSON, and the class of its colour; `""` for one without."""

    text: str
    colour: str = ""


@dataclass(frozen=True)
class Example:
    """One example of a message; `headers` is empty where it has none."""

    name: str
    summary: str
    headers: list[Piece]
    body: list[Piece]


def example(one: dict[str, Any]) -> Example:
    """An example of the document."""
    headers = one.get("headers")
    return Example(one["name"], one["summary"], pieces(headers) if headers else [], pieces(one["payload"]))


def pieces(value: Any) -> list[Piece]:
    """A JSON value, indented."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    found: list[Piece] = []
    end = 0
    for match in _COLOURED.finditer(text):
        found += [Piece(text[end : match.start()]), Piece(match.group(), _CLASS[str(match.lastgroup)])]
        end = match.end()
    return [*found, Piece(text[end:])]
