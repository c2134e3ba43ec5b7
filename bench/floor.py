"""The floor: what consuming, posting and acknowledging cost with only aio-pika and aiohttp.

It has none of the real worker's features: no ledger, no retries, no dead letters, no events, no metrics, no log.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import aiohttp
import orjson
import uvloop

from stream.contract.queues import INTAKE_QUEUE

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage

VERSION: Final = "v26.0"


class Floor:
    """Posts each message's payload and acknowledges it.

    Args:
        base_url: `META_API_BASE_URL`.
        session: The HTTP client.
    """

    def __init__(self, base_url: str, session: aiohttp.ClientSession) -> None:
        self._base_url = f"{base_url}/{VERSION}"
        self._session = session
        self._headers: dict[str, dict[str, str]] = {}  # by tenant: credentials are cached for ever

    async def handle(self, message: AbstractIncomingMessage) -> None:
        """Deliver one message; one that fails stays unacknowledged, and then the benchmark stops."""
        content = orjson.loads(message.body)
        metadata = content["metadata"]
        url = f"{self._base_url}/{metadata['phoneNumberId']}/messages"
        body = orjson.dumps(content["wabaPayload"])
        async with self._session.post(url, data=body, headers=self._headers_of(metadata["tenantId"])) as answer:
            accepted: dict[str, Any] = orjson.loads(await answer.read())
        if accepted["messages"][0]["id"]:
            await message.ack()

    def _headers_of(self, tenant: str) -> dict[str, str]:
        if tenant not in self._headers:
            self._headers[tenant] = {"Authorization": f"Bearer of-{tenant}", "Content-Type": "application/json"}
        return self._headers[tenant]


async def main() -> None:
    """Consume until killed."""
    prefetch = int(os.environ["RABBITMQ_PREFETCH"])
    connection = await aio_pika.connect(os.environ["RABBITMQ_URL"])
    connector = aiohttp.TCPConnector(limit=prefetch)
    async with connection, aiohttp.ClientSession(connector=connector) as session:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=prefetch)
        queue = await channel.get_queue(INTAKE_QUEUE)
        await queue.consume(Floor(os.environ["META_API_BASE_URL"], session).handle)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
