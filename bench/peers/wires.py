"""What a peer's own producer would have published: the load speaks each one's format."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import orjson

from bench.load import Load, make_body
from stream.contract.queues import INTAKE_PREFIX, INTAKE_QUEUE

if TYPE_CHECKING:
    from aio_pika.abc import AbstractExchange

PERSISTENT: Final = aio_pika.DeliveryMode.PERSISTENT
REPR_MOST: Final = 1024  # characters of the arguments that Celery's producer repeats in a header


@dataclass(frozen=True, slots=True)
class Wire:
    """How a message is published.

    Attributes:
        message: From a body as the contract has it.
        queue: Where it is put: the intake, or a queue that the peer would declare itself.
        arguments: What the peer declares that queue with.
    """

    message: Callable[[bytes], aio_pika.Message]
    queue: str = INTAKE_QUEUE
    arguments: Mapping[str, Any] | None = None


def contract_message(body: bytes) -> aio_pika.Message:
    """As the contract has it."""
    return aio_pika.Message(body, delivery_mode=PERSISTENT)


def celery_message(task: str, body: bytes) -> aio_pika.Message:
    """Celery's protocol 2 ("Message Protocol"), as `task.delay(content)` writes it."""
    task_id, content = str(uuid.uuid4()), orjson.loads(body)
    empty: dict[str, Any] = dict.fromkeys(
        ("shadow", "eta", "expires", "group", "group_index", "parent_id", "stamped_headers")
    )
    headers: dict[str, Any] = {
        **empty,
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": repr((content,))[:REPR_MOST],
        "kwargsrepr": "{}",
        "origin": "gen1@bench",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamps": {},
    }
    embedded = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    return aio_pika.Message(
        orjson.dumps([[content], {}, embedded]),
        headers=headers,
        content_type="application/json",
        content_encoding="utf-8",
        correlation_id=task_id,
        delivery_mode=PERSISTENT,
        priority=0,
    )


def dramatiq_message(body: bytes) -> aio_pika.Message:
    """Dramatiq's JSON, as `actor.send(content)` writes it."""
    envelope = {
        "queue_name": DRAMATIQ_QUEUE,
        "actor_name": "deliver",
        "args": [orjson.loads(body)],
        "kwargs": {},
        "options": {},
        "message_id": str(uuid.uuid4()),
        "message_timestamp": int(time.time() * 1000),
    }
    return aio_pika.Message(orjson.dumps(envelope), delivery_mode=PERSISTENT)


def taskiq_message(body: bytes) -> aio_pika.Message:
    """Taskiq's JSON ("Message format"), as `task.kiq(content)` writes it."""
    named: dict[str, Any] = {"task_id": uuid.uuid4().hex, "task_name": "deliver"}
    envelope = {**named, "labels": {}, "labels_types": {}, "args": [orjson.loads(body)], "kwargs": {}}
    return aio_pika.Message(orjson.dumps(envelope), headers=named, delivery_mode=PERSISTENT)


DRAMATIQ_QUEUE: Final = "bench-dramatiq"
CONTRACT: Final = Wire(contract_message)
DRAMATIQ: Final = Wire(  # it declares its queue itself, and would not take the intake's arguments
    dramatiq_message,
    DRAMATIQ_QUEUE,
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{DRAMATIQ_QUEUE}.XQ"},
)
TASKIQ: Final = Wire(taskiq_message)


def celery(task: str) -> Wire:
    """Celery's, for the task of this name."""
    return Wire(lambda body: celery_message(task, body))


class PeerLoad(Load):
    """The load in a peer's own format. Use as an async context manager.

    Args:
        url: `RABBITMQ_URL`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._wire = CONTRACT

    async def prepare(self, wire: Wire) -> None:
        """Make new queues for a peer, and speak its format from now on."""
        self._wire = wire
        await self.fresh_queues()
        if wire.arguments is not None:
            await self._channel.queue_delete(wire.queue)
            await self._channel.declare_queue(wire.queue, durable=True, arguments=dict(wire.arguments))

    async def _exchange(self) -> AbstractExchange:
        return self._channel.default_exchange if self._wire.arguments is not None else await super()._exchange()

    def _message(self, tenant: str, recipient: str) -> tuple[aio_pika.Message, str]:
        message = self._wire.message(make_body(tenant, recipient))
        return message, self._wire.queue if self._wire.arguments is not None else INTAKE_PREFIX + tenant
