"""Whether somebody uses a RabbitMQ: the demo's worker takes every message there, and sends it to the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aio_pika
from aiormq.exceptions import AMQPError, ChannelNotFoundEntity

from sandbox.world import WorldError
from stream.contract import delays
from stream.contract.lanes import MOST_LANES, lane_names
from stream.contract.queues import DEAD_LETTER_QUEUE, DUE_QUEUE, INTAKE_QUEUE

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel

# Whatever a worker consumes, and from where messages come to it, by themselves too.
QUEUES: Final = (
    INTAKE_QUEUE,
    DEAD_LETTER_QUEUE,
    DUE_QUEUE,
    *lane_names(MOST_LANES),
    *map(delays.level_name, range(delays.LEVELS)),
    *map(delays.former_level_name, range(delays.LEVELS)),
)


async def check_unused(url: str) -> None:
    """Look at every queue of the worker, and change none.

    Args:
        url: `RABBITMQ_URL`.

    Raises:
        WorldError: One has messages or consumers, or RabbitMQ cannot be asked.
    """
    try:
        async with await aio_pika.connect(url) as connection:
            # All channels first: the answer for a queue that does not exist closes one, whose number is then free.
            channels = [await connection.channel() for _ in QUEUES]
            for name, channel in zip(QUEUES, channels, strict=True):
                refuse_used(name, *await _counts(channel, name))
    except (AMQPError, OSError) as error:
        raise WorldError(f"RABBITMQ_URL: RabbitMQ cannot be asked for its queues: {error}") from None


def refuse_used(name: str, messages: int, consumers: int) -> None:
    """Refuse a queue that somebody uses.

    Raises:
        WorldError: With the queue, and what to do.
    """
    if messages or consumers:
        raise WorldError(
            f"RABBITMQ_URL: somebody uses this RabbitMQ: {name} has {messages} messages and {consumers} consumers. "
            "Unset RABBITMQ_URL and REDIS_URL, or name a vhost and a Redis database that nobody else uses."
        )


async def _counts(channel: AbstractChannel, name: str) -> tuple[int, int]:
    """Messages that are ready, and consumers; of a queue that does not exist, none."""
    try:
        declared = await (await channel.get_underlay_channel()).queue_declare(name, passive=True)
    except ChannelNotFoundEntity:
        return 0, 0
    return declared.message_count or 0, declared.consumer_count or 0
