"""The pages that people read, as tests see them: links, anchors, commands, and what is marked `runnable`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = tuple(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "deploy/*.md", "bench/*.md")
    for path in sorted(ROOT.glob(pattern))
)
_FENCED: Final = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"""\]\(([^)\s]*)\)|\b(?:src|srcset|href)="([^"]*)\"""")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        kind: Its first word: `sh`, `console`.
        runnable: Whether a test types it.
        text: What is in it.
    """

    kind: str
    runnable: bool
    text: str


def read(page: str) -> str:
    """A page's text."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[Block]:
    """A page's fenced blocks, in their order."""
    for _, words, text in _FENCED.findall(read(page)):
        kind, *marks = words.split() or [""]
        yield Block(kind, "runnable" in marks, text)


def prose(page: str) -> str:
    """A page without its blocks and its code."""
    return re.sub(r"`[^`\n]*`", "", _FENCED.sub("", read(page)))


def links(page: str) -> list[str]:
    """Where a page's links and pictures lead."""
    return [markdown or html for markdown, html in _LINK.findall(prose(page))]


def anchors(page: str) -> set[str]:
    """What a link to a place on the page may name: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ +(.*)$", _FENCED.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(page: str) -> list[str]:
    """A page's commands and names: what stands between backticks, and each line of its blocks."""
    spans = re.findall(r"`([^`\n]+)`", _FENCED.sub("", read(page)))
    return spans + [line for block in blocks(page) for line in block.text.splitlines()]
