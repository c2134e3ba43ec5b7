"""The page as a whole: sidebar, sections in the order in which a newcomer needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from asyncapi.page.channels import channels
from asyncapi.page.errors import errors
from asyncapi.page.fields import Fields
from asyncapi.page.html import Html, join, tag
from asyncapi.page.markdown import parts, rendered, section
from asyncapi.page.messages import headers, messages
from asyncapi.page.payloads import UNIONS, kind, linked, members, payloads

Node = dict[str, Any]
ASSETS: Final = Path(__file__).parent / "assets"
_HEADER_GROUPS: Final = frozenset({"OutboundHeaders", "DeadLetterHeaders", "RetryHeaders", "FailureHeaders"})


def page(document: Node) -> str:
    """The site's only page."""
    schemas = document["components"]["schemas"]
    fields = Fields(schemas, linked(schemas) | _HEADER_GROUPS)
    intro, texts = parts(document["info"]["description"])
    sections = [
        _header(document["info"], intro),
        section("The life of a message", _picture(), "lifecycle", "Decode, claim, credentials, send, decide, settle"),
        *(section(title, rendered(text), _ident(title)) for title, text in texts.items()),
        channels(document),
        messages(document, fields),
        headers(document, fields),
        payloads(document, fields),
        errors(),
        _footer(document),
    ]
    aside = tag("aside", _name(document["info"]), _search(), _navigation(document, list(texts)))
    body = tag(
        "body",
        tag("a", "Skip to the text", href="#content", class_="skip"),
        aside,
        tag("main", *sections, id="content"),
    )
    return "<!doctype html>\n" + tag("html", _head(document["info"]), body, lang="en") + "\n"


def _head(info: Node) -> Html:
    return tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"{info['title']} {info['version']}: the contract"),
        Html('<link rel="icon" href="icon.svg" type="image/svg+xml"><link rel="stylesheet" href="style.css">'),
        Html('<script src="docs.js" defer></script>'),
    )


def _header(info: Node, intro: str) -> Html:
    return tag(
        "header",
        tag("h1", info["title"]),
        tag("div", rendered(intro), class_="lead"),
        tag(
            "div",
            tag("span", f"version {info['version']}", class_="badge"),
            tag("span", f"licence {info['license']['name']}", class_="badge"),
            tag("a", "asyncapi.yaml", href="asyncapi.yaml", class_="badge"),
            class_="badges",
        ),
        id="top",
    )


def _picture() -> Html:
    return tag("div", Html((ASSETS / "lifecycle.svg").read_text(encoding="utf-8")), class_="figure")


def _name(info: Node) -> Html:
    return join(
        tag("a", info["title"], href="#top", class_="name"), tag("div", f"version {info['version']}", class_="version")
    )


def _search() -> Html:
    field = tag(
        "input",
        id="search",
        type="search",
        placeholder="Search",
        autocomplete="off",
        role="combobox",
        aria_label="Search fields, types, errors and codes",
        aria_controls="results",
        aria_expanded="false",
    )
    results = tag("ul", id="results", class_="results", role="listbox", aria_label="Results", hidden=True)
    return tag("div", field, tag("kbd", "/"), results, class_="search", role="search")


def _navigation(document: Node, titles: list[str]) -> Html:
    schemas = document["components"]["schemas"]
    groups: list[tuple[str, list[tuple[str, str]]]] = [
        ("Start", [("lifecycle", "The life of a message"), *((_ident(title), title) for title in titles)]),
        ("Channels", [(f"channel-{key}", channel["title"]) for key, channel in document["channels"].items()]),
        ("Messages", [(f"message-{name}", name) for name in document["components"]["messages"]]),
        ("Reference", [("headers", "Headers"), ("errors", "Errors")]),
        *((title, _members(schemas, union)) for union, (title, _) in UNIONS.items()),
    ]
    return tag("nav", *(part for title, links in groups for part in (tag("h2", title), *map(_link, links))))


def _members(schemas: Node, union: str) -> list[tuple[str, str]]:
    return [(f"schema-{name}", kind(schemas, name) or "any other") for name in members(schemas, union)]


def _link(place: tuple[str, str]) -> Html:
    ident, title = place
    return tag("a", title, href=f"#{ident}")


def _ident(title: str) -> str:
    return title.lower().replace(" ", "-")


def _footer(document: Node) -> Html:
    docs = document["info"]["externalDocs"]
    return tag(
        "footer",
        f"Generated from the code of {document['info']['title']} {document['info']['version']}: AsyncAPI "
        f"{document['asyncapi']}. ",
        tag("a", docs["description"], href=docs["url"], rel="noreferrer"),
    )
