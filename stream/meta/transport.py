"""The HTTP transport: httpx's interface over aiohttp's connection pool, honest about what left the machine.

httpx's own pool scans all its connections on every request and costs several times the CPU.
httpx-aiohttp reports a connection that broke *after* the request left as `ConnectTimeout` (0.2.0), because aiohttp's
`ServerDisconnectedError` and `ClientOSError` share a base class with its connect errors. Here that difference decides
whether a customer may get a message twice, so the original aiohttp error is looked at again.
"""

from __future__ import annotations

from typing import Final

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

# aiohttp raises these before the first byte of a request is written: DNS, refused, TLS, connect and pool timeouts.
_NEVER_LEFT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class HonestTransport(AiohttpTransport):
    """`AiohttpTransport` that raises `httpx.ConnectError` or `ConnectTimeout` only for requests that never left."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and read its answer.

        Raises:
            httpx.ConnectError: No connection was made: nothing left.
            httpx.ConnectTimeout: The same, by timeout.
            httpx.ReadTimeout: The request left, no answer came in time.
            httpx.ReadError: The connection broke after the request may have left.
        """
        try:
            response = await super().handle_async_request(request)
        except httpx.TransportError as error:
            cause = error.__cause__
            if isinstance(error, httpx.ConnectTimeout) and isinstance(cause, aiohttp.ClientConnectorError):
                raise httpx.ConnectError(str(error), request=request) from cause
            if isinstance(error, httpx.ConnectTimeout) and not isinstance(cause, _NEVER_LEFT):
                raise httpx.ReadError(str(error) or type(cause).__name__, request=request) from cause
            raise
        except aiohttp.ClientError as error:  # e.g. an answer that is not HTTP; httpx-aiohttp lets it through
            raise httpx.ReadError(f"{type(error).__name__}: {error}", request=request) from error
        try:
            await response.aread()
        except BaseException as error:
            await response.aclose()  # or its place in the pool would stay taken until the collector comes by
            if isinstance(error, httpx.RequestError):
                raise httpx.ReadError(f"the answer broke off: {error}", request=request) from error
            raise
        return response


def build_transport(max_connections: int) -> HonestTransport:
    """Make a transport with room for `max_connections` requests at once; it opens its pool on first use."""
    limits = httpx.Limits(max_connections=max_connections, keepalive_expiry=30.0)
    return HonestTransport(limits=limits, trust_env=False)
