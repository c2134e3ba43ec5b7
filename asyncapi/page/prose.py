"""Texts in Markdown as HTML: code in colours, and cells that name their column where a table becomes cards."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from asyncapi.page.colours import coloured_html


def prose_html(text: str) -> str:
    """A text in Markdown as HTML; HTML within it stays text."""
    return str(_MARKDOWN.render(text))


def _fence(_renderer: object, tokens: Sequence[Token], place: int, *_: Any) -> str:
    """A sample: what stands behind its language is its title."""
    token = tokens[place]
    title = token.info.partition(" ")[2]
    code = f"<pre><code>{coloured_html(token.content)}</code></pre>"
    return f'<figure class="sample"><figcaption>{escape(title)}</figcaption>{code}</figure>\n'


def _label_cells(state: StateCore) -> None:
    """Each cell of a table's body carries the text of its column's head."""
    heads: list[str] = []
    column = 0
    for token, inside in zip(state.tokens, state.tokens[1:], strict=False):
        if token.type == "table_open":
            heads = []
        elif token.type == "th_open":
            heads.append(inside.content)
        elif token.type == "tr_open":
            column = 0
        elif token.type == "td_open":
            token.attrSet("data-label", heads[column])
            column += 1


def _markdown() -> MarkdownIt:
    found = MarkdownIt("commonmark", {"html": False}).enable("table")
    found.add_render_rule("fence", _fence)
    found.core.ruler.push("label_cells", _label_cells)
    return found


_MARKDOWN: Final = _markdown()
