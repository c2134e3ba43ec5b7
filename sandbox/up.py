"""What the worker needs, for somebody who looks around: the servers, what to export, and a message to publish."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aio_pika
import orjson

from sandbox.graph import GraphSimulator
from sandbox.ports import GRAPH_PORT, TENANTS_PORT, port_or_free
from sandbox.tenants import TenantService
from stream.broker.declaration import declare
from stream.broker.topology import Topology
from stream.contract.queues import INTAKE_EXCHANGE, QueueKind

if TYPE_CHECKING:
    from sandbox.rabbitmq import PrivateRabbitMQ
    from sandbox.world import RunningRabbitMQ, World

KEPT_REQUESTS = 100_000

MESSAGE = {
    "metadata": {"tenantId": "acme", "phoneNumberId": "100000001", "internalId": "order-4711"},
    "wabaPayload": {
        "messaging_product": "whatsapp",
        "to": "+16505551234",
        "type": "text",
        "text": {"body": "Hello"},
    },
}


async def serve_world(world: World) -> None:
    """Start the simulators beside a world, declare the queues, say how to use it all, and wait for Ctrl-C."""
    graph, tenants = GraphSimulator(KEPT_REQUESTS), TenantService()
    async with AsyncExitStack() as stack:
        for simulator, port in ((graph, GRAPH_PORT), (tenants, TENANTS_PORT)):
            await simulator.start(port=port_or_free(port))
            stack.push_async_callback(simulator.stop)
        await _declare(world.rabbitmq.url)  # a message can be published before the worker runs
        print(manual(world, graph_url=graph.url, tenants_url=tenants.url), flush=True)
        await until_signal()


async def _declare(url: str) -> None:
    kind: QueueKind = "quorum" if os.environ.get("RABBITMQ_QUEUE_TYPE") == "quorum" else "classic"
    async with await aio_pika.connect(url) as connection:
        await declare(connection, Topology(kind))


def manual(world: World, *, graph_url: str, tenants_url: str) -> str:
    """What to type in other shells."""
    return f"""\
RabbitMQ's management: {world.rabbitmq.management_url}

Ready until Ctrl-C. The worker, in a second shell:

export RABBITMQ_URL={shlex.quote(world.rabbitmq.url)}
export REDIS_URL={shlex.quote(world.redis.url)}
export TENANT_SERVICE_URL={tenants_url}
export META_API_BASE_URL={graph_url}
.venv/bin/faststream run stream.app:app

A message, in a third shell; it waits in the queue until the worker runs:

{publish_command(world.rabbitmq)}

What has reached the simulated Meta:

curl {graph_url}/_sandbox/requests"""


def publish_command(rabbitmq: RunningRabbitMQ | PrivateRabbitMQ) -> str:
    """A curl command that publishes one message through RabbitMQ's management API."""
    vhost = urlsplit(rabbitmq.url).path.removeprefix("/")  # it is percent-encoded already
    payload = orjson.dumps(orjson.dumps(MESSAGE).decode()).decode()
    return f"""\
curl -u {shlex.quote(f"{rabbitmq.username}:{rabbitmq.password}")} \\
  {rabbitmq.management_url}/api/exchanges/{vhost}/{INTAKE_EXCHANGE}/publish \\
  -d '{{"routing_key": "outbound.processed.acme", "properties": {{"delivery_mode": 2}},
  "payload_encoding": "string", "payload":
  {payload}}}'"""


async def until_signal() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
