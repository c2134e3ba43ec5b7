"""The contract's site at `/docs/asyncapi`: static files that cannot publish and make no request to any other host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

import stream
from stream.observe.declared import Arguments, in_page, in_yaml

PATH: Final = "/docs/asyncapi"
# What a person may type, and the way from there: relative, so that it works behind a proxy that adds a prefix.
_WAYS: Final = {"/": "docs/asyncapi/", "/docs": "docs/asyncapi/", "/docs/": "asyncapi/", PATH: "asyncapi/"}
FILES: Final = ("index.html", "style.css", "docs.js", "icon.svg", "asyncapi.yaml")

_PACKAGE: Final = Path(stream.__file__).parent
# Installed with the package, or beside it in a checkout.
_PLACES: Final = (_PACKAGE / "site", _PACKAGE.parent / "asyncapi" / "site")
# Stated here, because what Python guesses differs from machine to machine.
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml; charset=utf-8",
}
# Where a worker shows its own queues.
_EDITED: Final = {"index.html": in_page, "asyncapi.yaml": in_yaml}
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def add_docs(
    router: web.UrlDispatcher, queues: Callable[[], Arguments] = dict, places: tuple[Path, ...] = _PLACES
) -> None:
    """Add the site's routes, or none where its files are missing.

    Args:
        router: Where to add them.
        queues: The arguments of the queues that it shows; asked at each request, since a worker declares late.
        places: Folders in which the site may be.
    """
    site = next((place for place in places if (place / FILES[0]).is_file()), None)
    if site is None:
        return
    for short, way in _WAYS.items():
        router.add_get(short, _leads(way))
    router.add_get(PATH + "/", _sends(site / FILES[0], queues))
    # Only these names: a path that a client sends never reaches the file system.
    for name in FILES:
        router.add_get(f"{PATH}/{name}", _sends(site / name, queues))


def _leads(way: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def lead(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(way)

    return lead


def _sends(path: Path, queues: Callable[[], Arguments]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    headers = {**_HEADERS, "Content-Type": _TYPES[path.suffix]}
    edit = _EDITED.get(path.name)

    async def send(_request: web.Request) -> web.StreamResponse:
        if edit is None:
            return web.FileResponse(path, headers=headers)
        return web.Response(body=await asyncio.to_thread(_edited, path, edit, queues()), headers=headers)

    return send


def _edited(path: Path, edit: Callable[[str, Arguments], str], queues: Arguments) -> bytes:
    return edit(path.read_text(encoding="utf-8"), queues).encode()
