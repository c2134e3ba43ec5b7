"""The copy of a letter that goes back to the intake. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from aio_pika.abc import AbstractIncomingMessage

from stream.broker.republish import Copy, replayed_copy
from stream.broker.wire import UNREADABLE, Unreadable
from stream.contract import headers as names
from stream.contract.decoding import decode
from stream.contract.identifiers import TenantId, routing_word
from stream.contract.messages import InvalidMessage, Message
from stream.contract.queues import INTAKE_PREFIX
from stream.delivery.ledger import key_of
from stream.operations.dead_letters.death import Death
from stream.operations.dead_letters.edits import edited
from stream.operations.dead_letters.letter import Letter

# Why it failed, and its history: attempts and retries start anew. `x-first-seen` stays, and so do the publisher's
# instructions and the count of sends without an answer.
LEFT_OUT: Final = (
    *(names.ERROR_TYPE, names.ERROR_CODE, names.ERROR_SUBCODE, names.HTTP_STATUS, names.ERROR_DETAIL),
    *(names.FBTRACE_ID, names.ATTEMPTS, names.FAILED_AT, names.TENANT_ID, names.INTERNAL_ID, names.RETRYABLE),
    *(names.FINGERPRINT, names.REPLAY, names.ATTEMPT, names.RETRIES, names.LAST_ERROR, names.REDELIVERED),
    names.MOVED_AT,
)


def message_of(body: bytes, headers: Mapping[str, Any], resend: str | None = None) -> Message | None:
    """The message in a letter; `None` if there is none, or if its properties cannot be decoded.

    Args:
        body: Its body.
        headers: Its headers.
        resend: The resend that it is to belong to.
    """
    if isinstance(headers.get(UNREADABLE), Unreadable):
        return None
    try:
        return decode(body, {**headers, names.RESEND: resend} if resend else headers, max_bytes=len(body))
    except InvalidMessage:
        return None


def ledger_key(body: bytes, headers: Mapping[str, Any], resend: str | None = None) -> str:
    """The message's place in the ledger; empty if it is none."""
    message = message_of(body, headers, resend)
    return key_of(message) if message else ""


def resend_of(letter_id: str) -> str:
    """The resend that a letter in doubt is sent as: the same in every job, so that two jobs send it once."""
    return f"replay-{letter_id}"


def copy_key(incoming: AbstractIncomingMessage, edits: Mapping[str, str], resend: str | None) -> str:
    """The place in the ledger of a letter's copy.

    Raises:
        NotAllowed: An edit does not fit this message.
    """
    body, _ = edited(incoming.body, edits)
    return ledger_key(body, incoming.headers, resend)


def copy_for(
    incoming: AbstractIncomingMessage, letter: Letter, job_id: str, edits: Mapping[str, str], resend: str | None
) -> Copy:
    """The copy of a letter that is replayed.

    Args:
        incoming: The letter's message.
        letter: What it says.
        job_id: The job.
        edits: What is changed.
        resend: Set for a letter in doubt: it is sent although an earlier copy may have been.

    Raises:
        NotAllowed: An edit does not fit this message.
        NotRepublishable: Only RabbitMQ can move it.
    """
    body, changed = edited(incoming.body, edits)
    origin = orjson.dumps({"letter": letter.id, "changed": changed}).decode() if changed else letter.id
    extra: dict[str, Any] = {
        names.REPLAYS: letter.replays + 1,
        names.REPLAY_JOB: job_id,
        names.REPLAYED_FROM: origin,
    }
    expiration = Death.of(incoming.headers).expiration
    if expiration is not None and names.ORIGINAL_EXPIRATION not in incoming.headers:
        extra[names.ORIGINAL_EXPIRATION] = expiration  # a copy has no x-death, which keeps it else
    if not incoming.headers.get(names.ORIGINAL_ROUTING_KEY):
        extra[names.ORIGINAL_ROUTING_KEY] = routing_key(letter, incoming.headers)
    if resend:
        extra[names.RESEND] = resend
    return replayed_copy(incoming, extra, without=LEFT_OUT, body=body)


def routing_key(letter: Letter, headers: Mapping[str, Any]) -> str:
    """The key that the message was published with, or one that the intake takes too."""
    for original in (headers.get(names.ORIGINAL_ROUTING_KEY), Death.of(headers).routing_key):
        if isinstance(original, str) and original.startswith(INTAKE_PREFIX):
            return original
    return INTAKE_PREFIX + (routing_word(TenantId(letter.tenant_id)) if letter.tenant_id else "replay")


def replayed_letter(origin: str | None) -> str | None:
    """The id of the letter that was replayed, from `x-replayed-from`."""
    if origin is None or not origin.startswith("{"):
        return origin
    try:
        return str(orjson.loads(origin)["letter"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
