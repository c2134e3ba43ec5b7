"""The contract's site at `/docs/asyncapi`: static files, nothing that can publish, no request to any other host.

There is one for each type of queues, so that a worker shows the arguments that it declares: who asserts a queue with
others is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

import stream
from stream.contract.topology import QueueKind

PATH: Final = "/docs/asyncapi"
FILES: Final = ("index.html", "style.css", "docs.js", "icon.svg", "asyncapi.yaml")

_PACKAGE: Final = Path(stream.__file__).parent
# Installed with the package, or beside it in a checkout.
_PLACES: Final = (_PACKAGE / "site", _PACKAGE.parent / "asyncapi" / "site")
_FOLDERS: Final[dict[QueueKind, str]] = {"classic": ".", "quorum": "quorum"}
# Written down, because what Python guesses differs from machine to machine.
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".yaml": "application/yaml; charset=utf-8",
}
_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def add_docs(router: web.UrlDispatcher, queue_type: QueueKind, places: tuple[Path, ...] = _PLACES) -> None:
    """Add the routes of the site for these queues, or none where its files are missing."""
    folders = (place / _FOLDERS[queue_type] for place in places)
    site = next((folder for folder in folders if (folder / FILES[0]).is_file()), None)
    if site is None:
        return
    router.add_get(PATH, _to_the_folder)
    router.add_get(PATH + "/", _sends(site / FILES[0]))
    # Only these names: no path that a client sends ever reaches the file system.
    for name in FILES:
        router.add_get(f"{PATH}/{name}", _sends(site / name))


async def _to_the_folder(_request: web.Request) -> web.Response:
    # Relative, so that it holds behind a proxy that adds a prefix.
    raise web.HTTPTemporaryRedirect(PATH.rsplit("/", maxsplit=1)[1] + "/")


def _sends(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    headers = {**_HEADERS, "Content-Type": _TYPES[path.suffix]}

    async def send(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(path, headers=headers)

    return send
