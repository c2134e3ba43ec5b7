"""A publish that the broker confirms, after a few attempts if need be.

Before each attempt the channel that the message came on is checked. If it is closed, the broker delivers the message
again, and what is published then would be a second one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, ChannelNotFoundEntity, PublishError

from stream.broker.express import open_channel_of
from stream.broker.losses import tells_a_loss

PUBLISH_ATTEMPTS: Final = 5  # a queue that refuses for a moment, or that is just declared again
PUBLISH_BACKOFF_S: Final = 0.05


class Unconfirmed(Exception):  # noqa: N818 - a state of the broker, not a fault
    """The broker did not confirm a publish: the original message must stay where it is."""


class Confirmed:
    """Publishes until the broker confirms.

    Args:
        mend_topology: Called when a queue or an exchange is not there; the next attempt may find it.
        sleep: How the pauses between attempts wait.
    """

    def __init__(self, mend_topology: Callable[[], None], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._mend_topology = mend_topology
        self._sleep = sleep

    async def publish(self, incoming: AbstractIncomingMessage, publish: Callable[[], Awaitable[Any]]) -> None:
        """Publish until the broker confirms, a few times. `publish` bounds the wait for a confirm itself.

        Raises:
            Unconfirmed: It did not.
            Unanswered: The event has left, and no confirm came.
            ChannelInvalidStateError: The connection of the message is lost.
        """
        for attempt in range(PUBLISH_ATTEMPTS):
            open_channel_of(incoming)
            try:
                await publish()
            except TimeoutError as error:  # it may have arrived: it is not published again
                raise Unconfirmed(str(error) or "the broker does not answer") from None
            except (PublishError, ChannelNotFoundEntity) as error:
                reason = f"{type(error).__name__}: {error}"
                self._mend_topology()
            except (AMQPError, ChannelInvalidStateError, OSError) as error:
                reason = f"{type(error).__name__}: {error}"
            except (Exception, asyncio.CancelledError) as error:
                if not tells_a_loss(error):
                    raise
                reason = "the connection ended before the broker confirmed"
            else:
                return
            await self._sleep(PUBLISH_BACKOFF_S * 2**attempt)
        open_channel_of(incoming)
        raise Unconfirmed(reason)
