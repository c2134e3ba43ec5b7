"""Home: the address at which a worker began to consume. One that had to leave it goes back, once it answers again.

Otherwise, after each node of a cluster was restarted in turn, all workers might be on one node until that is lost.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aio_pika import Connection
from yarl import URL

from stream.broker.declaration import Declared, declare
from stream.broker.losses import is_being_cancelled
from stream.broker.topology import Topology

LOOK_EVERY_S: Final = (20.0, 40.0)  # at random, so that those that lost a node do not all pause at once to go back
ANSWER_TIMEOUT_S: Final = 10.0

log = structlog.get_logger(__name__)


async def answers(home: URL, topology: Topology, known: Declared | None) -> bool:
    """Whether it takes a connection, and answers a declaration: one that is cut off from the other nodes may not."""
    try:
        # Not `aio_pika.connect`: it leaves one that could not connect to the garbage collector.
        async with asyncio.timeout(ANSWER_TIMEOUT_S), Connection(home) as connection:
            await connection.connect()
            await declare(connection, topology, known=known)
    # aiormq raises nearly anything for a connection that ends.
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
            raise
        log.debug("rabbitmq_home_away", home=f"{home.host}:{home.port}", error=f"{type(error).__name__}: {error}")
        return False
    return True
