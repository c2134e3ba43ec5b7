"""Examples of messages, as JSON texts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Example:
    """One example of a message; `headers` is empty where it has none."""

    name: str
    summary: str
    headers: str
    body: str


def example(one: dict[str, Any]) -> Example:
    """An example of the document."""
    headers = one.get("headers")
    return Example(one["name"], one["summary"], _text(headers) if headers else "", _text(one["payload"]))


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
