"""Descriptions in Markdown, as HTML."""

from __future__ import annotations

import re
from typing import Final

from markdown_it import MarkdownIt

from asyncapi.page.html import Html, tag

# Raw HTML is off: a description is text.
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")


def rendered(text: str) -> Html:
    """A text as HTML; its tables scroll by themselves."""
    drawn = _MARKDOWN.render(text)
    return Html(drawn.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>"))


def parts(text: str) -> tuple[str, dict[str, str]]:
    """What stands before the first heading, and the text under each heading of the second level."""
    intro, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    split = [section.split("\n", 1) for section in sections]
    return intro, {title.strip(): body for title, body in split}


def section(title: str, body: Html, ident: str, about: str = "") -> Html:
    """A section of the page that can be linked and found."""
    heading = tag("h2", title)
    return tag("section", heading, body, id=ident, data_find=title, data_kind="section", data_about=about)
