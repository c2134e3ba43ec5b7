"""The page as a whole: its model, and the templates that draw it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from asyncapi.page.channels import Channel, channels
from asyncapi.page.colours import coloured_html
from asyncapi.page.errors import DECISIONS, ErrorRow, errors
from asyncapi.page.fields import Fields
from asyncapi.page.messages import HeaderGroup, Message, header_groups, messages
from asyncapi.page.payloads import Payload, PayloadUnion, envelope, linked, unions
from asyncapi.page.prose import prose_html
from asyncapi.page.servers import Server, servers
from stream.observe.declared import arguments_html

Node = dict[str, Any]
ASSETS: Final = Path(__file__).parent / "assets"
_TEMPLATES: Final = Path(__file__).parent / "templates"
_HEADER_GROUPS: Final = frozenset({"OutboundHeaders", "DeadLetterHeaders", "RetryHeaders", "FailureHeaders"})


@dataclass(frozen=True)
class Text:
    """A section of the document's description; `markdown` is what stands under its heading."""

    title: str
    ident: str
    markdown: str


@dataclass(frozen=True)
class Page:
    """What the templates draw; `document` holds what they show as it is."""

    document: Node
    intro: str
    texts: list[Text]
    servers: list[Server]
    channels: list[Channel]
    messages: list[Message]
    header_groups: list[HeaderGroup]
    unions: list[PayloadUnion]
    envelope: Payload
    decisions: list[str]
    errors: list[ErrorRow]


def page(document: Node) -> str:
    """The site's only page."""
    return environment().get_template("page.html").render(page=_model(document))


def environment() -> Environment:
    """The templates; the assets are beside them, for the picture that is part of the page."""
    found = Environment(
        loader=FileSystemLoader((_TEMPLATES, ASSETS)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["markdown"] = prose_html
    found.filters["coloured"] = coloured_html
    # A worker that declared other arguments replaces these with its own.
    found.filters["arguments"] = arguments_html
    return found


def _model(document: Node) -> Page:
    schemas = document["components"]["schemas"]
    fields = Fields(schemas, linked(schemas) | _HEADER_GROUPS)
    intro, texts = _parts(document["info"]["description"])
    return Page(
        document=document,
        intro=intro,
        texts=texts,
        servers=servers(document),
        channels=channels(document),
        messages=messages(document, fields),
        header_groups=header_groups(schemas, fields),
        unions=unions(document, fields),
        envelope=envelope(schemas, fields),
        decisions=list(DECISIONS),
        errors=errors(),
    )


def _parts(description: str) -> tuple[str, list[Text]]:
    """What stands before the first heading, and the text under each heading of the second level."""
    intro, *sections = re.split(r"^## ", description, flags=re.MULTILINE)
    split = [section.split("\n", 1) for section in sections]
    return intro, [Text(title, title.lower().replace(" ", "-"), body) for title, body in split]
