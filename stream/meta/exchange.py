"""One request and its whole answer on a connection of aiohttp's pool, without aiohttp's session.

The session's own requests and answers have cookies, redirects, timers, and a task for the body. Nothing here needs
them, and they took more than half of a request's CPU (see `bench/README.md`). Pool, connections and parser are
aiohttp's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import aiohttp
from aiohttp.hdrs import ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, METH_GET, METH_HEAD, USER_AGENT
from aiohttp.http import RawResponseMessage
from yarl import URL

from stream.meta.connections import Connector
from stream.proxies import proxy_for

KEEP_ALIVE_S: Final = 30.0
# Compressed and decompressed. Answers have some hundred bytes, a proxy's page some ten thousand.
ANSWER_MAX_BYTES: Final = 256 * 1024

_NOT_OURS: Final = (ACCEPT, ACCEPT_ENCODING, USER_AGENT)  # aiohttp would add its own
_INTERIM: Final = frozenset(range(100, 200)) - {101}  # the answer comes after it
_ENDS_A_FIELD: Final = re.compile(r"[\r\n\0]")


class AnswerBrokeOff(Exception):  # noqa: N818 - what happened
    """The status came, but not the whole body."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a URL leads.

    Attributes:
        target: What stands in a request's first line.
        guide: A request that is never sent: it tells the pool where to connect, and has the fields of host and proxy.
    """

    target: str
    guide: aiohttp.ClientRequest


class Pool:
    """Connections. It belongs to the event loop in which it was made.

    Args:
        max_connections: Requests at once; further ones wait for a place.
    """

    def __init__(self, max_connections: int) -> None:
        self._connector = Connector(limit=max_connections, keepalive_timeout=KEEP_ALIVE_S)
        self.way = lru_cache(maxsize=10_000)(self._way)  # a URL for each phone number; to parse one costs CPU
        self._guide = lru_cache(maxsize=100)(_guide)

    async def exchange(
        self, method: str, way: Way, fields: Mapping[str, str], content: bytes, limits: aiohttp.ClientTimeout
    ) -> tuple[RawResponseMessage, bytes]:
        """Send one request, once, and read its answer, up to some bytes more than `ANSWER_MAX_BYTES` of its body.

        Args:
            method: HTTP's.
            way: Where to, from `way`.
            fields: Its header, except what follows from the URL and the content.
            content: Its body.
            limits: `connect` and `sock_connect` bound the wait for a connection, `sock_read` that for bytes.

        Raises:
            NeverLeft: There is no connection. All other errors come after the request has, or may have, left.
            TimeoutError: No byte came in time.
            aiohttp.ClientError: The connection broke.
            aiohttp.http_exceptions.HttpProcessingError: What came is not HTTP.
            AnswerBrokeOff: One of the three, within the body.
            ValueError: A field's value would end early.
        """
        connection = await self._connector.connect(way.guide, [], limits)
        try:
            handler: Any = connection.protocol
            handler.set_response_params(
                skip_payload=method == METH_HEAD,
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=limits.sock_read,
            )
            if transport := connection.transport:  # else it is lost already, and says so when it is read
                transport.write(_head(method, way, fields, len(content)) + content)
            handler.start_timeout()
            message, payload = await handler.read()
            while message.code in _INTERIM:
                message, payload = await handler.read()
            body = await _read(payload)
            if (transport := connection.transport) and transport.get_write_buffer_size():
                handler.force_close()  # answered early: the next request would lie behind what is left of this one
        except BaseException:
            connection.close()
            raise
        connection.release()  # which closes it if there is more to read
        return message, body

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.close()

    def _way(self, url: str, *, encoded: bool = False) -> Way:
        target = URL(url, encoded=encoded)
        origin = target.origin()  # without user and password: they are not a proxy's business
        guide = self._guide(origin, proxy_for(target))
        before_path = str(origin) if guide.proxy and not guide.is_ssl() else ""
        return Way(before_path + target.raw_path_qs, guide)


def _guide(origin: URL, proxy: URL | None) -> aiohttp.ClientRequest:
    return aiohttp.ClientRequest(METH_GET, origin, proxy=proxy, skip_auto_headers=_NOT_OURS)


def _head(method: str, way: Way, fields: Mapping[str, str], length: int) -> bytes:
    """A request up to its body."""
    fields = {**way.guide.headers, **fields}
    if length or method != METH_GET:
        fields[CONTENT_LENGTH] = str(length)
    if _ENDS_A_FIELD.search("".join(fields.values())):
        raise ValueError("a header's value has a line break in it")
    lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
    return f"{method} {way.target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


async def _read(payload: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    try:
        while len(body) <= ANSWER_MAX_BYTES and (piece := await payload.readany()):
            body += piece
    except (aiohttp.ClientError, TimeoutError) as error:
        raise AnswerBrokeOff(str(error) or type(error).__name__) from error
    return bytes(body)
