"""Code in colours: JSON, and the languages of the samples, which are alike enough for one pattern."""

from __future__ import annotations

import re
from html import escape
from typing import Final

_COLOURED: Final = re.compile(
    r"""
      (?P<comment> (?<!\S)\#.* | //.* )
    | (?P<key> "(?:[^"\\]|\\.)*"(?=:) | \b\w+(?=:[ ]) )
    | (?P<string> [fb]?"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | `[^`]*` )
    | (?P<number> (?<![\w-])-?\d[\d.eE+-]* | \b(?:true|false|null|True|False|None)\b )
    | (?P<word> \b(?:import|from|async|await|def|with|as|const|new|throw|curl|base64|tr)\b )
    """,
    re.VERBOSE,
)
_CLASS: Final = {"comment": "c", "key": "k", "string": "s", "number": "n", "word": "w"}


def coloured_html(code: str) -> str:
    """The code as HTML, with the class of its colour around each piece that has one."""
    found: list[str] = []
    end = 0
    for match in _COLOURED.finditer(code):
        colour = _CLASS[str(match.lastgroup)]
        found += [escape(code[end : match.start()]), f'<span class="{colour}">{escape(match.group())}</span>']
        end = match.end()
    return "".join([*found, escape(code[end:])])
