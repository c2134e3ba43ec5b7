"""The `Transport` of `GraphClient` over any transport of httpx, so that `httpx.MockTransport` can simulate Meta."""

from __future__ import annotations

import math
from collections.abc import Mapping

import httpx

from stream.meta.transport import Answer


class OverHttpx:
    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def post(
        self, url: str, headers: Mapping[str, str], content: bytes, *, leave_within_s: float = math.inf
    ) -> Answer:
        self.leave_within_s = leave_within_s
        request = httpx.Request("POST", url, headers=headers, content=content)
        response = await self._transport.handle_async_request(request)
        return Answer(response.status_code, response.headers, await response.aread())
