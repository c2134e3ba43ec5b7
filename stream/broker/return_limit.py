"""RabbitMQ's limit of returns: a look must not bring a queue's messages to it.

From 4.0 on, RabbitMQ drops a message of a quorum queue at its 21st return, unless the queue was declared without a
limit; one that is there from before was not. Seen on 4.0.5: whatever a consumer does to give a message back counts.
"""

from __future__ import annotations

from typing import Final

from aiormq.abc import AbstractConnection, DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from stream.broker.declaration import DECLARE_TIMEOUT_S, FIRST_MAJOR_WITH_LIMIT, major_version
from stream.broker.topology import Topology

LIMIT: Final = 20
MOST_USED: Final = 10  # by looks; the other half is for consumers and connections that die
_COUNT: Final = "x-delivery-count"


class NearLimit(Exception):  # noqa: N818 - a state of the queue
    """RabbitMQ drops messages of this queue after some more returns.

    Attributes:
        returns: How often the queue's first message has come back.
        certain: The queue has the limit; else this user may not ask.
    """

    def __init__(self, returns: int, *, certain: bool) -> None:
        super().__init__(f"{returns} of {LIMIT} returns are used")
        self.returns = returns
        self.certain = certain


def has_a_limit(connection: AbstractConnection) -> bool:
    """Whether this RabbitMQ limits the returns of a queue that does not say otherwise."""
    return major_version(connection.server_properties) >= FIRST_MAJOR_WITH_LIMIT


async def check(connection: AbstractConnection, queue: str, first: DeliveredMessage) -> None:
    """Refuse to look once half of the limit is used.

    Args:
        connection: An open one; the answer costs a channel.
        queue: The queue, which is there.
        first: Its first message, which has come back most often. A message above the limit proves that there is none.

    Raises:
        NearLimit: The queue has the limit, or the user may not know.
    """
    returns = (first.header.properties.headers or {}).get(_COUNT)
    if not isinstance(returns, int) or not MOST_USED <= returns <= LIMIT:
        return
    channel = await connection.channel(publisher_confirms=False)
    unlimited = Topology("quorum").shared_arguments(frozenset({queue}))[queue]
    try:
        await channel.queue_declare(queue, durable=True, arguments=unlimited, timeout=DECLARE_TIMEOUT_S)
    except ChannelPreconditionFailed:
        raise NearLimit(returns, certain=True) from None
    except ChannelAccessRefused:
        raise NearLimit(returns, certain=False) from None
    await channel.close()
