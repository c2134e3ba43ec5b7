"""From bytes to a `Message`, or to the first field that is wrong and how to fix it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson
from pydantic import ValidationError

from stream.contract.headers import Instructions
from stream.contract.identifiers import INTERNAL_ID_PATTERN, TENANT_ID_PATTERN
from stream.contract.messages import (
    MESSAGE_MAX_BYTES,
    UNKNOWN_OWNER,
    InvalidMessage,
    Message,
    OutboundMessage,
    Whose,
    number_as_text,
    text_or_none,
)
from stream.contract.payload_types import check_payload
from stream.contract.validity import ALWAYS, Validity

NO_INSTRUCTIONS: Final = Instructions()


class _PayloadSlice(msgspec.Struct):
    """Finds the payload's bytes inside the body, so that Meta gets what arrived and not a re-serialisation of it."""

    payload: msgspec.Raw = msgspec.field(name="wabaPayload")


_slice = msgspec.json.Decoder(_PayloadSlice)


def decode(
    body: bytes,
    headers: Mapping[str, Any] | None = None,
    validity: Validity = ALWAYS,
    *,
    max_bytes: int = MESSAGE_MAX_BYTES,
) -> Message:
    """Turn a message body into a `Message`.

    Args:
        body: As it arrived.
        headers: For the instructions in them.
        validity: What the message's properties and its age say.
        max_bytes: A longer body is refused unread: as objects it takes about thirty times the memory.

    Raises:
        InvalidMessage: With the first field that is wrong and how to fix it.
    """
    if len(body) > max_bytes:
        raise InvalidMessage("body", f"is {len(body):,} bytes long: at most {max_bytes:,} are read (MESSAGE_MAX_BYTES)")
    raw = _json_object(body)
    try:
        content = OutboundMessage.model_validate(raw)
        check_payload(content.waba_payload)
        payload, digest = _payload(body, content.waba_payload)
    except ValidationError as error:
        raise InvalidMessage(*_explained(error), whose(raw)) from None
    except InvalidMessage as error:
        raise InvalidMessage(error.field, error.problem, whose(raw)) from None
    instructions = Instructions.read(headers) if headers else NO_INSTRUCTIONS
    return _message(content, payload, digest, instructions, validity)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidMessage(
            "body", f"is not JSON ({error.msg}, at character {error.pos}): publish one JSON object"
        ) from None
    if not isinstance(content, dict):
        raise InvalidMessage("body", "is not a JSON object: publish an object with metadata and wabaPayload")
    return content


def _payload(body: bytes, payload: dict[str, Any]) -> tuple[bytes, bytes]:
    """The payload's own bytes, and the digest of its content."""
    try:
        content = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
        return bytes(_slice.decode(body).payload), hashlib.sha256(content).digest()
    except (orjson.JSONEncodeError, RecursionError):
        raise InvalidMessage("body", "is nested more deeply than any message needs: flatten it") from None


def _message(
    content: OutboundMessage, payload_bytes: bytes, digest: bytes, instructions: Instructions, validity: Validity
) -> Message:
    metadata, payload = content.metadata, content.waba_payload
    stated = metadata.timestamp
    return Message(
        tenant_id=metadata.tenant_id,
        phone_number_id=metadata.phone_number_id,
        internal_id=metadata.internal_id,
        correlation_id=metadata.correlation_id,
        timestamp=stated if isinstance(stated, str | int | float) else None,
        payload_type=str(payload["type"]),
        recipient=text_or_none(payload.get("to") or payload.get("recipient")),  # in this order, as at Meta
        template_name=_template_name(payload),
        payload_bytes=payload_bytes,
        payload_digest=digest,
        instructions=instructions,
        validity=validity.until(metadata.valid_until),
    )


def _template_name(payload: Mapping[str, Any]) -> str | None:
    template = payload.get("template")
    return text_or_none(template.get("name")) if isinstance(template, dict) else None


def owner_of(body: bytes) -> Whose:
    """Read tenant and internal id from a body, whether the rest of it is valid or not."""
    try:
        return whose(_json_object(body))
    except InvalidMessage:
        return UNKNOWN_OWNER


def whose(content: Mapping[str, Any]) -> Whose:
    """Read tenant and internal id from a message that is otherwise not valid."""
    metadata = content.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return Whose(
        tenant_id=_id_or_none(known.get("tenantId"), TENANT_ID_PATTERN),
        internal_id=_id_or_none(known.get("internalId"), INTERNAL_ID_PATTERN),
    )


def _id_or_none(value: object, pattern: str) -> Any:
    text = number_as_text(value)
    return text if isinstance(text, str) and re.fullmatch(pattern, text) else None


# By field and not by pydantic's kind of error: each field has one rule, and the rule is the fix.
_RULES: Final = {
    "metadata": "must be a JSON object",
    "wabaPayload": "must be a JSON object",
    "tenantId": "must be a text of 1 to 128 characters, none of them a control character",
    "phoneNumberId": "must be 1 to 64 digits: it is Meta's id of the number, not the number",
    "internalId": "must be a text of 1 to 256 printable ASCII characters without spaces",
    "validUntil": "is no moment: write ISO 8601, or seconds or milliseconds since the epoch, or leave it out",
}


def _explained(error: ValidationError) -> tuple[str, str]:
    """The first wrong field and how to fix it, without the rejected value, which may be anything."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = [str(part) for part in first["loc"]]
    rule = _RULES.get(path[-1], "is not what the contract says: see its schema")
    return ".".join(path), "is required: add it" if first["type"] == "missing" else rule
