"""Python runs this at start when its folder is on PYTHONPATH: faults that no message and no network can cause."""

from __future__ import annotations

import asyncio
from typing import Any

from stream.meta.client import GraphClient

_send = GraphClient.send


async def send(client: GraphClient, phone_number_id: Any, access_token: str, payload: bytes) -> Any:
    """Fail, or never return, for a payload that asks for it."""
    if b"poison" in payload:
        raise RuntimeError("nobody foresaw this")
    if b"stuck" in payload:
        await asyncio.Event().wait()
    return await _send(client, phone_number_id, access_token, payload)


GraphClient.send = send  # type: ignore[method-assign,assignment]
