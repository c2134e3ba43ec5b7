"""httpx's transport seam over aiohttp, which takes a fraction of the CPU that httpx's own pool does.

Small on purpose: one request, its whole answer, and errors that tell truthfully whether the request may have left. A
customer may get a message twice over that difference, so the mapping from aiohttp's errors is made here, in one table.
(httpx-aiohttp reports a connection that broke *after* the request left as `ConnectTimeout`, and costs a third more.)
"""

from __future__ import annotations

from typing import Final

import aiohttp
import httpx
from yarl import URL

KEEP_ALIVE_S: Final = 30.0

# aiohttp raises these before the first byte of a request is written.
_NO_TIME_TO_CONNECT: Final = aiohttp.ConnectionTimeoutError  # neither a place in the pool nor a connection in time
_NO_CONNECTION: Final = aiohttp.ClientConnectorError  # DNS, refused, TLS


class HonestTransport(httpx.AsyncBaseTransport):
    """Raises `httpx.ConnectError` or `ConnectTimeout` only for requests that never left.

    The pool opens on first use.

    Args:
        max_connections: Requests at once; further ones wait for a place, as long as their pool timeout says.
    """

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._opened: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its whole answer. Redirects are answers; nothing is sent twice.

        Raises:
            httpx.ConnectError: No connection was made: nothing left.
            httpx.ConnectTimeout: The same, by timeout.
            httpx.ReadTimeout: The request left, no answer came in time.
            httpx.ReadError: The connection broke after the request may have left.
        """
        url = request.url
        try:
            async with self._session().request(
                request.method,
                URL(str(url), encoded=True),
                headers=request.headers.items(),
                data=await request.aread(),
                allow_redirects=False,
                timeout=_timeout(request),
            ) as response:
                try:
                    body = await response.read()
                except (aiohttp.ClientError, TimeoutError) as error:
                    raise httpx.ReadError(f"the answer broke off: {_said(error)}", request=request) from error
                return httpx.Response(response.status, headers=response.raw_headers, content=body, request=request)
        except _NO_TIME_TO_CONNECT as error:
            raise httpx.ConnectTimeout(_said(error), request=request) from error
        except _NO_CONNECTION as error:
            raise httpx.ConnectError(_said(error), request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(_said(error), request=request) from error
        except aiohttp.ClientError as error:
            raise httpx.ReadError(_said(error), request=request) from error

    async def aclose(self) -> None:
        """Close the pool."""
        if self._opened is not None:
            await self._opened.close()

    def _session(self) -> aiohttp.ClientSession:
        """The pool, opened on first use because it belongs to the loop that runs then."""
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # httpx does it, from the headers
                trust_env=False,
            )
        return self._opened


def _timeout(request: httpx.Request) -> aiohttp.ClientTimeout:
    limits = request.extensions.get("timeout", {})
    return aiohttp.ClientTimeout(
        total=None, connect=limits.get("pool"), sock_connect=limits.get("connect"), sock_read=limits.get("read")
    )


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
