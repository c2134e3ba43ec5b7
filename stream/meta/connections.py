"""The pool of connections: which errors prove that nothing was sent, and which connections are not used again.

Both are decided in aiohttp's `connect`: it returns a connection before any of the request is written.
"""

from __future__ import annotations

import select
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection


class NeverLeft(aiohttp.ClientError):
    """There is no connection to send the request on."""


class ProxyRefused(NeverLeft):
    """The proxy refused to connect to the target."""


class NoTimeToConnect(NeverLeft):
    """There was no place in the pool, or no connection, in time."""


class _Handler(ResponseHandler):
    """A connection that knows whether it was used before, and whether bytes came that no request had asked for.

    aiohttp would read those bytes as an answer, and give it to the next request.
    """

    used = False

    def set_response_params(self, **parameters: Any) -> None:
        """A request will be sent now: what comes after this belongs to it."""
        self.used = True
        self._payload = None
        super().set_response_params(**parameters)

    def data_received(self, data: bytes) -> None:
        """Bytes came; with none, aiohttp continues with old ones. After an answer's end, no request asked for any."""
        if data and self._payload is not None and self._payload.is_eof():
            self.force_close()
        super().data_received(data)


class Connector(aiohttp.TCPConnector):
    """A pool that never gives out a connection on which bytes came that no request had asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        handlers: Any = partial(_Handler, loop=self._loop)
        self._factory = handlers  # not a public name of aiohttp's: tests would fail if it changed

    async def connect(self, *arguments: Any, **options: Any) -> Connection:
        """Get a connection from the pool, or make one.

        Raises:
            NeverLeft: There is none: DNS, refused, TLS, a proxy that refused, or no time.
        """
        try:
            while True:
                connection = await super().connect(*arguments, **options)
                if _is_quiet(connection):
                    return connection
                connection.close()
        except TimeoutError as error:
            raise NoTimeToConnect(str(error) or "no connection in time") from error
        except aiohttp.ClientHttpProxyError as error:
            # The error holds the request to the proxy, and so the proxy's password.
            raise ProxyRefused(f"the proxy answered HTTP {error.status}") from None
        except aiohttp.ClientError as error:
            raise NeverLeft(str(error) or type(error).__name__) from error


def _is_quiet(connection: Connection) -> bool:
    """Whether it is new, or nothing has come on it since its last answer, read or not yet read."""
    handler: Any = connection.protocol  # a `_Handler`; any other has no `used`, and no message leaves on it
    return not handler.used or not (handler.should_close or _has_unread(connection))


def _has_unread(connection: Connection) -> bool:
    """Whether the socket has bytes, or an end, that the event loop has not read yet."""
    transport = connection.transport
    if transport is None:
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
