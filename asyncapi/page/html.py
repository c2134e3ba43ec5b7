"""Writing HTML: everything that is not markup already is escaped."""

from __future__ import annotations

import html
import json
import re
from typing import Any, Final

_TOKEN: Final = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d[\d.eE+-]*|true|false|null)'
)
# A line for each thing that a reader of a difference would call one.
_END: Final = dict.fromkeys(("article", "section", "li", "tr", "details", "aside", "dl"), "\n")
_CLASS: Final = {"key": "k", "string": "s", "number": "n"}


class Html(str):
    """Markup that may stand in a page as it is."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | bool | None) -> Html:
    """An element; `class_` is `class`, `data_find` is `data-find`, and a value of `None` or `False` is left out."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name == "input":
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>{_END.get(name, '')}")


def join(*children: str) -> Html:
    """Children one after the other, escaped unless they are markup."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def code(text: str) -> Html:
    """A word of code."""
    return tag("code", text)


def ticked(text: str) -> Html:
    """A sentence in which `ticks` mark code."""
    parts = text.split("`")
    return join(*(code(part) if number % 2 else part for number, part in enumerate(parts)))


def json_block(value: Any) -> Html:
    """A JSON value, indented and coloured."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    pieces: list[str] = []
    end = 0
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        pieces += [text[end : found.start()], tag("span", found.group(), class_=_CLASS[kind])]
        end = found.end()
    return tag("pre", tag("code", *pieces, text[end:]))


def _attribute(key: str, value: str | bool | None) -> str:  # noqa: FBT001 - an attribute's value is no switch
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html.escape(value)}"'
