"""FastStream and aiohttp with promises like this worker's: a key before and after the send, and a confirmed event.

Its broker waits for RabbitMQ's confirm of each event, as FastStream does unless told otherwise ("Publishing"). From
redis-py's documentation: one client with a pool of connections for all tasks ("Asyncio Examples"), and the parser in C
("Parsers": hiredis, installed). The rest: as in `faststream_aiohttp.py`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from faststream import FastStream
from faststream.rabbit import ExchangeType, RabbitExchange, RabbitQueue
from redis.asyncio import Redis

from bench.peers.faststream_aiohttp import broker, post
from bench.peers.job import KEEP_S, PREFETCH, QUEUE, event_of, key_of

events = RabbitExchange(os.environ["EVENTS_EXCHANGE"], type=ExchangeType.TOPIC, declare=False)


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Open the session and the keys, and consume with them."""
    connector = aiohttp.TCPConnector(limit=PREFETCH)
    async with aiohttp.ClientSession(connector=connector) as session, Redis.from_url(os.environ["REDIS_URL"]) as keys:

        @broker.subscriber(RabbitQueue(QUEUE, declare=False))
        async def deliver(content: dict[str, Any]) -> None:
            key = key_of(content)
            if not await keys.set(key, "sending", nx=True, ex=KEEP_S):
                return
            wamid = await post(session, content)
            await keys.set(key, wamid, ex=KEEP_S)
            routing_key, event = event_of(content, wamid)
            await broker.publish(event, exchange=events, routing_key=routing_key, persist=True)

        yield


app = FastStream(broker, lifespan=lifespan)
