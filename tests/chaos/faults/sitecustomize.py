"""Python runs this at start when its folder is on PYTHONPATH: faults that no message and no network can cause."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from stream.contract import decoding
from stream.contract.messages import Message
from stream.meta.client import GraphClient

_send, _decode = GraphClient.send, decoding.decode


async def send(client: GraphClient, phone_number_id: Any, access_token: str, payload: bytes, **options: Any) -> Any:
    """Fail, or never return, for a payload that asks for it."""
    if b"poison" in payload:
        raise RuntimeError("nobody foresaw this")
    if b"stuck" in payload:
        await asyncio.Event().wait()
    return await _send(client, phone_number_id, access_token, payload, **options)


def decode(body: bytes, *args: Any, **options: Any) -> Message:
    """End the process for a body that asks for it, as the kernel does when memory runs out."""
    if b"deadly" in body:
        os.kill(os.getpid(), signal.SIGKILL)
    return _decode(body, *args, **options)


decoding.decode = decode  # before its user imports it
GraphClient.send = send  # type: ignore[method-assign,assignment]
