"""Taskiq with taskiq-aio-pika, and httpx.

Settings from taskiq's documentation: acknowledged after the task ("CLI": `--ack-type when_executed`), as many tasks at
once as are prefetched ("CLI": `--max-async-tasks`), the client made once and kept in the state ("State and
Dependencies"). From that of httpx: one client, and as many kept connections as sends at once ("Resource Limits").
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import httpx
from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_aio_pika import AioPikaBroker, Queue

from bench.peers.job import PREFETCH, QUEUE, log_sent, request_of

broker = AioPikaBroker(os.environ["RABBITMQ_URL"], qos=PREFETCH, task_queues=[Queue(name=QUEUE, declare=False)])


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(state: TaskiqState) -> None:
    """Make the client."""
    limits = httpx.Limits(max_connections=PREFETCH, max_keepalive_connections=PREFETCH)
    state.client = httpx.AsyncClient(limits=limits, timeout=10)


@broker.task(task_name="deliver")
async def deliver(content: dict[str, Any], context: Annotated[Context, TaskiqDepends()]) -> None:
    """Send one message."""
    url, headers, body = request_of(content)
    answer = await context.state.client.post(url, json=body, headers=headers)
    answer.raise_for_status()
    log_sent(content, answer.json())
