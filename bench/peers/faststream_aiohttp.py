"""FastStream and aiohttp, as lean as FastStream goes by its documentation.

No dependency injection and no validation ("Application and Broker": `apply_types=False`), no access lines ("Application
and Access Logging"), orjson and uvloop installed. From aiohttp's documentation: one session for the application
("Client Quickstart"), a connector with room for all sends at once ("Advanced Client Usage": `limit`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from bench.peers.job import PREFETCH, QUEUE, log_sent, request_of

broker = RabbitBroker(
    os.environ["RABBITMQ_URL"],
    default_channel=Channel(prefetch_count=PREFETCH),
    logger=None,
    apply_types=False,
)


async def post(session: aiohttp.ClientSession, content: dict[str, Any]) -> str:
    """Send one message.

    Returns:
        Its WAMID.
    """
    url, headers, body = request_of(content)
    async with session.post(url, json=body, headers=headers, raise_for_status=True) as answer:
        return log_sent(content, await answer.json())


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Open the session, and consume with it."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=PREFETCH)) as session:

        @broker.subscriber(RabbitQueue(QUEUE, declare=False))
        async def deliver(content: dict[str, Any]) -> None:
            await post(session, content)

        yield


app = FastStream(broker, lifespan=lifespan)
