"""Why the worker is not connected to RabbitMQ: a sentence where waiting would not help, a wait where it may."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import structlog
from aiormq.exceptions import AMQPError, ChannelInvalidStateError, InvalidFrameError, ProbableAuthenticationError

LONGEST_WAIT_S: Final = 10.0  # between attempts to reach a broker that is not there yet

# What a declaration may raise on a broker that has just started, crashed, or been frozen. It works a little later.
TEMPORARY: Final = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)

log = structlog.get_logger(__name__)


class CannotStart(Exception):  # noqa: N818 - a sentence for an operator
    """The worker cannot start, and waiting would not help."""


def lasting(error: Exception, vhost: str) -> CannotStart | None:
    """The sentence for an error of connecting that will not pass by itself.

    Args:
        error: What connecting raised.
        vhost: That of `RABBITMQ_URL`.
    """
    untrusted = error.__cause__
    match error:
        case ProbableAuthenticationError():
            return CannotStart("RabbitMQ refuses the login in RABBITMQ_URL: correct the user and the password")
        case InvalidFrameError():
            # RabbitMQ answers the opening of a vhost by closing the connection; aiormq does not show its reason.
            return CannotStart(
                f"RabbitMQ refuses the vhost '{vhost}' of RABBITMQ_URL: create it, or give the user access "
                "(the vhost /whatsapp is written %2Fwhatsapp)"
            )
        case FileNotFoundError() | PermissionError():
            return CannotStart(
                "RABBITMQ_URL names a certificate file that cannot be read: correct cafile, certfile and keyfile"
            )
        case _ if isinstance(untrusted, ssl.SSLCertVerificationError):
            return CannotStart(
                f"RabbitMQ's certificate is not trusted ({untrusted.verify_message}): name its CA in "
                "RABBITMQ_URL with ?cafile=/path/to/ca.crt, and its host as the certificate does"
            )
    return None


async def wait_for_broker(attempt: int, error: BaseException, address: str) -> None:
    """Say that RabbitMQ is not there yet, and wait for longer with each attempt.

    Args:
        attempt: From 1.
        error: What it raised.
        address: Which one was tried.
    """
    wait_s = min(0.5 * 2**attempt, LONGEST_WAIT_S)
    reason = f"{type(error).__name__}: {error}"
    log.warning("rabbitmq_not_there_yet", address=address, attempt=attempt, nextInS=wait_s, error=reason)
    await asyncio.sleep(wait_s)
