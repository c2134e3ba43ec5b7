"""FastStream and httpx as FastStream's documentation has them.

From that documentation: room for as many messages as are to be sent at once ("Concurrency and Prefetch": on RabbitMQ
nothing else bounds them), the client made in the lifespan ("Lifespan Context Manager") and taken from the context, the
message as a model ("Pydantic Serialization"), acknowledged after the handler ("Consuming Acknowledgements"), uvloop
where it is installed. Its two access lines a message are off ("Application and Access Logging"): every worker here
writes one line. httpx: as in `taskiq_httpx.py`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from faststream import Context, ContextRepo, FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from pydantic import BaseModel

from bench.peers.job import PREFETCH, QUEUE, log_sent, request_of


class Outbound(BaseModel):
    """A message as upstream services publish it."""

    metadata: dict[str, str]
    wabaPayload: dict[str, Any]  # noqa: N815 - the contract's name


@asynccontextmanager
async def lifespan(context: ContextRepo) -> AsyncIterator[None]:
    """Make the client, and close it at the end."""
    limits = httpx.Limits(max_connections=PREFETCH, max_keepalive_connections=PREFETCH)
    async with httpx.AsyncClient(limits=limits, timeout=10) as client:
        context.set_global("client", client)
        yield


broker = RabbitBroker(os.environ["RABBITMQ_URL"], default_channel=Channel(prefetch_count=PREFETCH), logger=None)
app = FastStream(broker, lifespan=lifespan)


@broker.subscriber(RabbitQueue(QUEUE, declare=False))
async def deliver(message: Outbound, client: Annotated[httpx.AsyncClient, Context()]) -> None:
    """Send one message."""
    content = message.model_dump()
    url, headers, body = request_of(content)
    answer = await client.post(url, json=body, headers=headers)
    answer.raise_for_status()
    log_sent(content, answer.json())
