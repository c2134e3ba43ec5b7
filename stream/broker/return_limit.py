"""RabbitMQ's limit of returns: a look must not bring a queue's messages to it.

From 4.0 on, RabbitMQ drops a message of a quorum queue at its 21st return, unless the queue was declared without a
limit; one that is there from before was not. Seen on 4.0.5: whatever a consumer does to give a message back counts.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from aiormq.abc import AbstractConnection, DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from stream.broker.declaration import DECLARE_TIMEOUT_S, FIRST_MAJOR_WITH_LIMIT, major_version
from stream.broker.topology import Topology

LIMIT: Final = 20
MOST_USED: Final = 10  # by looks; the other half is for consumers and connections that die
_COUNT: Final = "x-delivery-count"


class Limited(Enum):
    """Whether RabbitMQ limits the returns of a queue's messages."""

    NO = auto()
    YES = auto()  # or it is a classic queue, whose messages have no count
    UNKNOWN = auto()  # this user may not ask


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


async def may_apply(connection: AbstractConnection, queue: str) -> Limited:
    """Whether a queue has the limit: declaring it without one is refused then. It costs a channel.

    Args:
        connection: An open one.
        queue: The queue, which is there.
    """
    if major_version(connection.server_properties) < FIRST_MAJOR_WITH_LIMIT:
        return Limited.NO
    channel = await connection.channel(publisher_confirms=False)
    unlimited = Topology("quorum").shared_arguments(frozenset({queue}))[queue]
    try:
        await channel.queue_declare(queue, durable=True, arguments=unlimited, timeout=DECLARE_TIMEOUT_S)
    except ChannelPreconditionFailed:
        return Limited.YES
    except ChannelAccessRefused:
        return Limited.UNKNOWN
    await channel.close()
    return Limited.NO


def check(first: DeliveredMessage, limited: Limited) -> None:
    """Refuse to look once half of the limit is used.

    Args:
        first: The queue's first message, which has come back most often. One above the limit proves that there is none.
        limited: Whether the queue has the limit, or this user may not ask.

    Raises:
        NearLimit: RabbitMQ would soon drop messages.
    """
    returns = (first.header.properties.headers or {}).get(_COUNT)
    if isinstance(returns, int) and MOST_USED <= returns <= LIMIT:
        raise NearLimit(returns, certain=limited is Limited.YES)
