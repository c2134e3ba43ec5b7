"""The way to Meta over aiohttp, and the seam in front of it that tests replace.

Small on purpose: one request, its whole answer, and errors that tell truthfully whether the request may have left. A
customer may get a message twice over that difference, so the mapping from aiohttp's errors is made here, in one table.
The errors have httpx's names, which the classifier knows; no other object of httpx is made for a message, because
building and parsing those costs as much CPU as the whole request to Meta does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

import aiohttp
import httpx
from yarl import URL

KEEP_ALIVE_S: Final = 30.0

# aiohttp raises these before the first byte of a request is written.
_NO_TIME_TO_CONNECT: Final = aiohttp.ConnectionTimeoutError  # neither a place in the pool nor a connection in time
_NO_CONNECTION: Final = aiohttp.ClientConnectorError  # DNS, refused, TLS


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Its text may quote the token that was sent, so `repr` shows none of it.

    Attributes:
        status: HTTP status.
        headers: Looked up without regard to case.
        body: Decompressed.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Transport(Protocol):
    """One POST and its whole answer. It sets no bound on the exchange: whoever calls it does."""

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """Send one request, once. Redirects are answers.

        Raises:
            httpx.ConnectError: No connection was made: nothing left.
            httpx.ConnectTimeout: The same, by timeout.
            httpx.RequestError: Any other kind of it: the request may have left.
        """


class HonestTransport(httpx.AsyncBaseTransport):
    """Raises `httpx.ConnectError` or `ConnectTimeout` only for requests that never left.

    It is the `Transport` for messages, and an httpx transport for what is seldom asked. The pool opens on first use.

    Args:
        max_connections: Requests at once; further ones wait for a place.
        connect_s: Bound on a `post`'s wait for a place and a connection, in seconds. It must be shorter than the bound
            on the exchange, or a connect that hangs is taken for an answer that hangs.
    """

    def __init__(self, max_connections: int, *, connect_s: float | None = None) -> None:
        self._max_connections = max_connections
        # A timer for each request costs CPU. This one runs only while there is no connection.
        self._connect_only = aiohttp.ClientTimeout(total=None, connect=connect_s)
        self._opened: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> Answer:
        """Send one request, once, and read its whole answer. Redirects are answers.

        Args:
            url: Parsed once: there is one a phone number.
            headers: All but those that follow from the URL and the content.
            content: The body.

        Raises:
            httpx.ConnectError: No connection was made: nothing left.
            httpx.ConnectTimeout: The same, by timeout.
            httpx.ReadError: The connection broke after the request may have left, or the answer cannot be read.
        """
        response, body = await self._exchange(
            "POST", _parsed(url), headers=headers, data=content, timeout=self._connect_only
        )
        return Answer(response.status, response.headers, body)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request of httpx and read its whole answer. Redirects are answers; httpx decompresses.

        Raises:
            httpx.ConnectError: No connection was made: nothing left.
            httpx.ConnectTimeout: The same, by timeout.
            httpx.ReadTimeout: The request left, no answer came in time.
            httpx.ReadError: The connection broke after the request may have left.
        """
        response, body = await self._exchange(
            request.method,
            URL(str(request.url), encoded=True),
            headers=request.headers.items(),
            data=await request.aread(),
            timeout=_timeout(request),
            auto_decompress=False,
        )
        return httpx.Response(response.status, headers=response.raw_headers, content=body, request=request)

    async def aclose(self) -> None:
        """Close the pool."""
        if self._opened is not None:
            await self._opened.close()

    async def _exchange(self, method: str, url: URL, **options: Any) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send one request and read its whole answer; every error of aiohttp becomes one that tells the truth."""
        try:
            response = await self._session().request(method, url, allow_redirects=False, **options)
            return response, await _read(response)
        except _NO_TIME_TO_CONNECT as error:
            raise httpx.ConnectTimeout(_said(error)) from error
        except _NO_CONNECTION as error:
            raise httpx.ConnectError(_said(error)) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(_said(error)) from error
        except aiohttp.ClientError as error:
            raise httpx.ReadError(_said(error)) from error

    def _session(self) -> aiohttp.ClientSession:
        """The pool, opened on first use because it belongs to the loop that runs then."""
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._opened


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read to the end: aiohttp then gives the place in the pool back, or closes the connection if the reading fails.

    So no `async with` is needed around a response; it would cost some microseconds for each message.
    """
    try:
        return await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise httpx.ReadError(f"the answer broke off: {_said(error)}") from error


@lru_cache(maxsize=10_000)  # phone numbers; 0.7 KiB each
def _parsed(url: str) -> URL:
    """Parse a URL: that takes a tenth of a request, and what aiohttp asks of one is kept in it too."""
    return URL(url)


def _timeout(request: httpx.Request) -> aiohttp.ClientTimeout:
    limits = request.extensions.get("timeout", {})
    return aiohttp.ClientTimeout(
        total=None, connect=limits.get("pool"), sock_connect=limits.get("connect"), sock_read=limits.get("read")
    )


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
