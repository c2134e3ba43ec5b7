"""The commands' connection to RabbitMQ: the worker's own variables, and one sentence for what is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ssl import SSLCertVerificationError
from typing import Final

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from yarl import URL

from stream.broker.addresses import CONNECT_TIMEOUT_S, Addresses
from stream.broker.frames import queue_all_frames
from stream.broker.look import QueueInUse
from stream.broker.losses import tells_a_loss
from stream.broker.return_limit import LIMIT, NearLimit
from stream.broker.wire import guard_deliveries
from stream.contract.queues import DEAD_LETTER_EXCHANGE, DEAD_LETTER_QUEUE, INTAKE_EXCHANGE
from stream.operations.environment import rabbitmq_address
from stream.operations.exits import CommandFailed, ExitCode

HEARTBEAT_S: Final = 30

_SENTENCES: Final[dict[type[Exception], str]] = {
    ChannelNotFoundEntity: "RabbitMQ has no {queue} on this vhost: correct RABBITMQ_URL, or start a worker once",
    AuthenticationError: "RabbitMQ refuses the login in RABBITMQ_URL: correct the user and the password",
    ProbableAuthenticationError: "RabbitMQ refuses the login in RABBITMQ_URL: correct the user and the password",
    # RabbitMQ answers the opening of a vhost by closing the connection; aiormq does not show its reason.
    InvalidFrameError: "RabbitMQ refuses the vhost of RABBITMQ_URL: create it, or give the user access to it",
}


@asynccontextmanager
async def rabbitmq_connection(address: str | None = None) -> AsyncIterator[AbstractConnection]:
    """A connection to the RabbitMQ that `RABBITMQ_URL` (or `RABBITMQ_URL_FILE`) names.

    Args:
        address: The value of `RABBITMQ_URL`, where it is known already.

    Raises:
        CommandFailed: It cannot be made, is lost, or the user lacks a right: one sentence.
    """
    guard_deliveries()
    queue_all_frames()
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # our one sentence says it
    addresses = Addresses(address or rabbitmq_address())
    try:
        connection = await _connect(addresses)
        try:
            yield connection
        except BaseException as error:
            # The other two are its words for a call on a connection that is closed.
            if connection.is_closed and (tells_a_loss(error) or type(error) in {RuntimeError, EOFError}):
                raise ConnectionError("the connection was lost") from None
            raise
        finally:
            await connection.close()
    except QueueInUse:
        raise CommandFailed(
            f"somebody else reads {DEAD_LETTER_QUEUE} now: a look, a job (`stream jobs list`), or a consumer",
            ExitCode.LOCKED,
        ) from None
    except NearLimit as near:
        raise CommandFailed(_near_limit(near), ExitCode.STOPPED) from None
    except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError) as error:
        raise CommandFailed(_sentence(error, addresses.url.user), ExitCode.UNREACHABLE) from None


async def _connect(addresses: Addresses) -> AbstractConnection:
    """Connect to the first address that answers; the error is that of the last one."""
    url = addresses.url.update_query(heartbeat=HEARTBEAT_S)
    for _ in range(len(addresses) - 1):
        with suppress(AMQPConnectionError, OSError, TimeoutError):
            return await _connect_once(url, addresses)
    return await _connect_once(url, addresses)


async def _connect_once(url: URL, addresses: Addresses) -> AbstractConnection:
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        return await aiormq.connect(url, transport_factory=addresses)


def _sentence(error: Exception, user: str | None) -> str:
    """What is missing, and what to do."""
    untrusted = error.__cause__
    if isinstance(untrusted, SSLCertVerificationError):
        return f"RabbitMQ's certificate is not trusted ({untrusted.verify_message}): name its CA with ?cafile="
    if isinstance(error, ChannelAccessRefused):
        return f"the RabbitMQ user '{user}' needs the right to {_missing_right(str(error))}"
    for kind, sentence in _SENTENCES.items():
        if isinstance(error, kind):
            return sentence.format(queue=DEAD_LETTER_QUEUE)
    reason = " ".join(str(error).split()) or "no answer"
    return f"RabbitMQ cannot be reached: {reason}; check RABBITMQ_URL"


def _near_limit(near: NearLimit) -> str:
    """What is about to happen, and what to do."""
    doubt = "" if near.certain else ", unless it has no limit, which a user who may configure it can see"
    return (
        f"RabbitMQ drops the letters of {DEAD_LETTER_QUEUE} when they have come back {LIMIT} times{doubt}, and looks "
        f"have used {near.returns}: look no more before you have set the policy of docs/upgrade.md (Delivery limit)"
    )


def _missing_right(words: str) -> str:
    """Which right RabbitMQ's refusal is about."""
    written = next((each for each in (INTAKE_EXCHANGE, DEAD_LETTER_EXCHANGE) if f"'{each}'" in words), None)
    return f"write to the exchange {written}" if written else f"read the queue {DEAD_LETTER_QUEUE}"
