"""The transport to Meta over aiohttp, and the interface `Transport`, which tests implement too.

Small on purpose: one request, its whole answer, and errors that say exactly whether the request may have left. If that
is wrong, a customer may get a message twice. So aiohttp's errors are mapped here, in one table.
The errors have httpx's names, which the classifier knows; no other object of httpx is made for a message, because
building and parsing those costs as much CPU as the whole request to Meta does.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Protocol

import aiohttp
import httpx
from aiohttp.hdrs import CONTENT_ENCODING
from aiohttp.http import HttpProcessingError, RawResponseMessage

from stream.meta.connections import NeverLeft, NoTimeToConnect, ProxyRefused
from stream.meta.exchange import ANSWER_MAX_BYTES, AnswerBrokeOff, Pool, Way

_ADDED: Final = {"host", "content-length", "transfer-encoding"}  # by `Pool`, which never sends chunks
_OF_THE_PACKED: Final = {b"content-encoding", b"content-length", b"transfer-encoding"}  # headers
_PACKED: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's window sizes; the worker asks for none of them


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Its text may quote the token that was sent, so `repr` does not show it.

    Attributes:
        status: HTTP status.
        headers: Upper and lower case are the same in their names.
        body: Decompressed, its first `ANSWER_MAX_BYTES`; empty if it cannot be read, then only the status is known.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Transport(Protocol):
    """One POST and its whole answer. It has no time limit for the exchange: the caller sets one."""

    async def post(
        self, url: str, headers: Mapping[str, str], content: bytes, *, leave_within_s: float = math.inf
    ) -> Answer:
        """Send one request, once, within `leave_within_s` seconds or not at all. Redirects are answers.

        Raises:
            httpx.ConnectError: No connection was made: nothing left.
            httpx.ConnectTimeout: The same, by timeout.
            httpx.RequestError: Any other kind of it: the request may have left.
        """


class HonestTransport(httpx.AsyncBaseTransport):
    """Raises `httpx.ConnectError` or `ConnectTimeout` only for requests that never left.

    It is the `Transport` for messages, and an httpx transport for rare requests. The pool opens on first use.

    Args:
        max_connections: Requests at once; further ones wait for a place.
        connect_s: Bound on a `post`'s wait for a place and a connection, in seconds. It must be shorter than the bound
            on the exchange, or a connect that hangs counts as an answer that hangs.
    """

    def __init__(self, max_connections: int, *, connect_s: float | None = None) -> None:
        self._max_connections = max_connections
        # A timer for each request costs CPU. This one runs only while there is no connection.
        self._connect_s = math.inf if connect_s is None else connect_s
        self._connect_only = aiohttp.ClientTimeout(total=None, connect=connect_s)

    async def post(
        self, url: str, headers: Mapping[str, str], content: bytes, *, leave_within_s: float = math.inf
    ) -> Answer:
        """Send one request, once, and read its whole answer. Redirects are answers.

        Args:
            url: Parsed once, as there is one for each phone number.
            headers: All except those that follow from the URL and the content.
            content: The body.
            leave_within_s: Bound on the wait for a place and a connection, in seconds, where it is the shorter one.

        Raises:
            httpx.ConnectError: No connection was made: nothing left.
            httpx.ConnectTimeout: The same, by timeout.
            httpx.ProxyError: The proxy refused to lead there: nothing left.
            httpx.ReadError: The connection broke after the request may have left.
        """
        timeout = self._connect_only
        if leave_within_s < self._connect_s:
            # Without the threshold, aiohttp would round a time limit above 5 s up to a whole second.
            timeout = aiohttp.ClientTimeout(total=None, connect=leave_within_s, ceil_threshold=leave_within_s)
        message, body = await self._exchange("POST", self._pool.way(url), headers, content, timeout)
        try:
            body = _unpacked(message, body)
        except httpx.DecodingError:
            body = b""
        return Answer(message.code, message.headers, body)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request of httpx and read its whole answer. Redirects are answers.

        Raises:
            httpx.ConnectError: No connection was made: nothing left.
            httpx.ConnectTimeout: The same, by timeout.
            httpx.ProxyError: The proxy refused to lead there: nothing left.
            httpx.ReadTimeout: The request left, no answer came in time.
            httpx.ReadError: The connection broke after the request may have left.
            httpx.DecodingError: An answer came, but it cannot be unpacked.
        """
        message, body = await self._exchange(
            request.method,
            self._pool.way(str(request.url), encoded=True),
            {name: value for name, value in request.headers.items() if name not in _ADDED},
            await request.aread(),
            _timeout(request),
        )
        headers = [(name, value) for name, value in message.raw_headers if name.lower() not in _OF_THE_PACKED]
        content = _unpacked(message, body)
        return httpx.Response(message.code, headers=headers, content=content, request=request)

    async def aclose(self) -> None:
        """Close the pool."""
        if "_pool" in self.__dict__:
            await self._pool.close()

    @cached_property
    def _pool(self) -> Pool:
        """Opened on first use because it belongs to the event loop that runs then."""
        return Pool(self._max_connections)

    async def _exchange(
        self, method: str, way: Way, fields: Mapping[str, str], content: bytes, limits: aiohttp.ClientTimeout
    ) -> tuple[RawResponseMessage, bytes]:
        """Send one request and read its whole answer; every error of aiohttp is mapped to one of httpx."""
        try:
            return await self._pool.exchange(method, way, fields, content, limits)
        except NoTimeToConnect as error:
            raise httpx.ConnectTimeout(_said(error)) from error
        except ProxyRefused as error:
            raise httpx.ProxyError(_said(error)) from error
        except NeverLeft as error:
            raise httpx.ConnectError(_said(error)) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout(_said(error)) from error
        except AnswerBrokeOff as error:
            raise httpx.ReadError(f"the answer broke off: {error}") from error
        except (aiohttp.ClientError, HttpProcessingError) as error:
            raise httpx.ReadError(_said(error)) from error


def _unpacked(message: RawResponseMessage, body: bytes) -> bytes:
    """The first `ANSWER_MAX_BYTES` of the decompressed body.

    Raises:
        httpx.DecodingError: It cannot be decompressed.
    """
    encoding = message.headers.get(CONTENT_ENCODING, "identity").strip().lower()
    if encoding == "identity":
        return body[:ANSWER_MAX_BYTES]
    try:
        return zlib.decompressobj(_PACKED[encoding]).decompress(body, ANSWER_MAX_BYTES)
    except (KeyError, zlib.error) as error:
        raise httpx.DecodingError(f"the answer is packed as {encoding[:32]!r} and cannot be unpacked") from error


def _timeout(request: httpx.Request) -> aiohttp.ClientTimeout:
    limits = request.extensions.get("timeout", {})
    return aiohttp.ClientTimeout(
        total=None, connect=limits.get("pool"), sock_connect=limits.get("connect"), sock_read=limits.get("read")
    )


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
