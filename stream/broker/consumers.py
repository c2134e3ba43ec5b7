"""The consumers of FastStream's subscribers: whether RabbitMQ has them, and how they end.

Neither FastStream nor aio-pika has public functions for this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import structlog
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from faststream.rabbit import RabbitBroker
from faststream.rabbit.subscriber.usecase import RabbitSubscriber

from stream.broker.losses import is_being_cancelled

CANCEL_TIMEOUT_S: Final = 2.0  # a cancel waits for the connection, which may not come back

log = structlog.get_logger(__name__)


class Consumers:
    """The consumers of a broker's subscribers.

    Args:
        broker: It may get more subscribers.
    """

    def __init__(self, broker: RabbitBroker) -> None:
        self._broker = broker

    @property
    def subscribers(self) -> list[RabbitSubscriber]:
        """All subscribers so far."""
        return [each for each in self._broker.subscribers if isinstance(each, RabbitSubscriber)]

    @property
    def channels(self) -> list[Any]:
        """aio-pika's channels on which they consume, each once."""
        queues = [each._queue_obj for each in self.subscribers]  # noqa: SLF001 - see the module's docstring
        return list({id(queue.channel): queue.channel for queue in queues if queue is not None}.values())

    @property
    def known(self) -> bool:
        """Whether the broker knows them all."""
        return all(map(_is_known, self.subscribers))

    async def cancel(self) -> None:
        """Cancel them for good."""
        await asyncio.gather(*map(self._cancel, self.subscribers))

    async def pause(self) -> None:
        """Cancel them at the broker only: aio-pika subscribes again with its next connection."""
        known = filter(_is_known, self.subscribers)
        await asyncio.gather(*(_patiently(_underlay(each).basic_cancel(each._consumer_tag)) for each in known))  # noqa: SLF001

    async def _cancel(self, subscriber: RabbitSubscriber) -> None:
        queue, tag = subscriber._queue_obj, subscriber._consumer_tag  # noqa: SLF001
        # Otherwise FastStream's stop would cancel it again, without a time limit, on a channel that may be closed.
        subscriber._consumer_tag = None  # noqa: SLF001
        if queue is not None and tag is not None and await self._broker.ping(timeout=0.2):
            await _patiently(queue.cancel(tag))


async def _patiently(cancelling: Awaitable[object]) -> None:
    """Wait for a cancel, for `CANCEL_TIMEOUT_S` at most, and go on without it."""
    try:
        async with asyncio.timeout(CANCEL_TIMEOUT_S):
            await cancelling
    except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError) as error:
        log.warning("consumer_not_cancelled", error=f"{type(error).__name__}: {error}")
    except asyncio.CancelledError:
        if is_being_cancelled():  # else the connection is lost, and what is in flight must still be finished
            raise


def _is_known(subscriber: RabbitSubscriber) -> bool:
    """The tag remains when the channel is closed or the consumer cancelled."""
    underlay = _underlay(subscriber)
    return underlay is not None and subscriber._consumer_tag in underlay.consumers  # noqa: SLF001


def _underlay(subscriber: RabbitSubscriber) -> Any:
    """The channel of aiormq's that a subscriber has, if there is one."""
    queue = subscriber._queue_obj  # noqa: SLF001
    underlay = getattr(queue.channel, "_channel", None) if queue is not None else None
    return underlay.channel if underlay is not None else None
