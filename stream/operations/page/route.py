"""The page's route: only with `OPERATOR_TOKEN`, and with headers that let it do nothing but be read."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from stream.operations.page.access import may_look
from stream.operations.page.document import STYLE_HASH, document
from stream.operations.page.fresh import FreshSnapshot

PATH: Final = "/dead-letters"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"default-src 'none'; style-src 'self' '{STYLE_HASH}'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
_ASK: Final = {"WWW-Authenticate": 'Basic realm="OPERATOR_TOKEN as the password", charset="UTF-8"'}


class DeadLettersPage:
    """Answers `GET /dead-letters`.

    Args:
        token: `OPERATOR_TOKEN`.
        snapshots: What it shows.
    """

    def __init__(self, token: str, snapshots: FreshSnapshot) -> None:
        self._token = token
        self._snapshots = snapshots

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Add the route."""
        router.add_get(PATH, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        if not may_look(request.headers.get("Authorization"), self._token):
            text = "This page needs OPERATOR_TOKEN: as the password, with any user name, or as a bearer token.\n"
            return web.Response(status=401, text=text, headers={**_HEADERS, **_ASK})
        try:
            snapshot = await self._snapshots.read()
        except TimeoutError:
            text = "The look has not ended: RabbitMQ does not answer. Try again in a moment.\n"
            return web.Response(status=503, text=text, headers=_HEADERS)
        return web.Response(text=document(snapshot), content_type="text/html", charset="utf-8", headers=_HEADERS)
