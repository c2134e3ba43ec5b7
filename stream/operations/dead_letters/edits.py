"""Changing a message before it is replayed: a few fields only, and the difference is kept. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from stream.observe.redaction import masked_number, without_numbers

# Paths inside wabaPayload.
_ALLOWED: Final = re.compile(
    r"to|template\.name|template\.language(?:\.code)?"
    r"|template\.components\.\d+\.parameters\.\d+\.(?:text|payload|(?:image|video|document)\.(?:link|id))"
)
_RECIPIENT: Final = "to"


class NotAllowed(ValueError):  # noqa: N818 - it says what the operator asked for
    """The field may not be changed, or is not there."""


def read_edits(texts: Sequence[str]) -> dict[str, str]:
    """Read `path=value` pairs.

    Raises:
        NotAllowed: One sentence.
    """
    edits = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not _ALLOWED.fullmatch(path):
            raise NotAllowed(
                f"--set {path}: only to, template.name, template.language and a template's parameters by path "
                "(template.components.0.parameters.1.text) can be changed, as PATH=VALUE"
            )
        edits["template.language.code" if path == "template.language" else path] = value
    return edits


def edited(body: bytes, edits: Mapping[str, str]) -> tuple[bytes, dict[str, list[str]]]:
    """The body with the changes, and the difference: path → before and after, with phone numbers masked.

    Raises:
        NotAllowed: A field is not there: the message is of another kind.
    """
    if not edits:
        return body, {}
    content = orjson.loads(body)
    changed: dict[str, list[str]] = {}
    for path, value in edits.items():
        *above, last = path.split(".")
        place: Any = content["wabaPayload"]
        try:
            for name in above:
                place = place[int(name)] if isinstance(place, list) else place[name]
            before = place[last]
        except (KeyError, IndexError, TypeError, ValueError):
            raise NotAllowed(f"--set {path}: this message has no such field") from None
        place[last] = value
        changed[path] = [_shown(path, str(before)), _shown(path, value)]
    return orjson.dumps(content), changed


def _shown(path: str, value: str) -> str:
    return masked_number(value) if path == _RECIPIENT else without_numbers(value)
