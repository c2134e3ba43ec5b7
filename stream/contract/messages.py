"""The message that upstream publishes: what it must contain, and what arrived.

It is strict about what delivery needs (tenant, phone number, id, payload type) and lenient about the rest: a wrong
value in a field that is not read must not stop a message. `stream.contract.decoding` makes a `Message` from bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from stream.contract.headers import Instructions
from stream.contract.identifiers import (
    INTERNAL_ID_PATTERN,
    PHONE_NUMBER_ID_PATTERN,
    TENANT_ID_PATTERN,
    InternalId,
    PhoneNumberId,
    TenantId,
)
from stream.contract.moments import read_moment
from stream.contract.validity import Validity

MESSAGE_MAX_BYTES: Final = 1024 * 1024  # by default; Meta's own limits on what it takes as JSON are far below


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose message it is, as far as that can be read from a message that is not valid."""

    tenant_id: TenantId | None = None
    internal_id: InternalId | None = None


UNKNOWN_OWNER: Final = Whose()


class InvalidMessage(ValueError):  # noqa: N818 - it reads as what it is: the message is invalid
    """The bytes are not a message of this contract.

    Attributes:
        field: The path of the field that is wrong, e.g. `metadata.tenantId`; `body` when it is not JSON at all.
        problem: What is wrong and how to fix it, without the offending value.
        whose: Whose message it is, as far as that could be read.
    """

    def __init__(self, field: str, problem: str, whose: Whose = UNKNOWN_OWNER) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.whose = whose


def number_as_text(value: object) -> object:
    """Accept an id that was serialised as a JSON integer."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def text_or_none(value: object) -> str | None:
    """The value, if it is text."""
    return value if isinstance(value, str) else None


def _moment(value: object) -> datetime | None:
    return None if value is None else read_moment(value)


class Metadata(BaseModel):
    """Who sends, from which number, and how upstream calls the message."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel)

    tenant_id: Annotated[TenantId, BeforeValidator(number_as_text)] = Field(
        pattern=TENANT_ID_PATTERN,
        description="The tenant whose credentials send the message: 1 to 128 characters, no control characters.",
        examples=["acme"],
    )
    phone_number_id: Annotated[PhoneNumberId, BeforeValidator(number_as_text)] = Field(
        pattern=PHONE_NUMBER_ID_PATTERN,
        description="Meta's id of the sending number (not the number itself): digits.",
        examples=["100000001"],
    )
    internal_id: Annotated[InternalId, BeforeValidator(number_as_text)] = Field(
        pattern=INTERNAL_ID_PATTERN,
        description="Upstream's id of the message. Two payloads may share it: identity includes the payload.",
        examples=["order-4711-confirmation"],
    )
    correlation_id: Annotated[str | None, BeforeValidator(text_or_none)] = Field(
        default=None, description="Carried into events and logs."
    )
    # A value that cannot be read is refused: a late one-time password is worse than none.
    valid_until: Annotated[Any, BeforeValidator(_moment), WithJsonSchema({"type": ["string", "number", "null"]})] = (
        Field(
            default=None,
            description="The message is not sent after this moment: ISO 8601 (without a zone in UTC), or seconds or "
            "milliseconds since the epoch. Without it, the AMQP property expiration says how long it is valid.",
            examples=["2026-11-24T06:20:00Z"],
        )
    )
    # Not read here, so a value of another type is kept, not refused.
    timestamp: Annotated[Any, WithJsonSchema({"type": ["string", "number", "null"]})] = Field(
        default=None, description="When upstream made the message: ISO 8601, or seconds since the epoch."
    )
    priority: Annotated[Any, WithJsonSchema({"type": ["integer", "null"]})] = Field(
        default=None, description="Informative; order on the queue is not changed by it."
    )
    retry_count: Annotated[Any, WithJsonSchema({"type": ["integer", "null"]})] = Field(
        default=None, description="Informative; this worker counts its own retries in the header x-attempt."
    )


class OutboundMessage(BaseModel):
    """One ready-made WhatsApp message, as upstream publishes it to `outbound-processed`."""

    model_config = ConfigDict(extra="allow", frozen=True, alias_generator=to_camel)

    metadata: Metadata
    waba_payload: dict[str, Any] = Field(
        description="The body of Meta's POST /{phone-number-id}/messages. It reaches Meta byte for byte as it arrived."
    )


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A valid message that arrived: what is read of it, and the bytes that are sent.

    The rest of its content is not kept: as objects, it may take thirty times as much memory as its bytes.

    Attributes:
        tenant_id: The tenant whose credentials send it.
        phone_number_id: Meta's id of the sending number.
        internal_id: Upstream's id; not unique alone.
        correlation_id: Upstream's id of the whole matter, if it has one.
        timestamp: When upstream made it, as it says, if it does.
        payload_type: `wabaPayload.type`, e.g. `text`.
        recipient: Phone number, group id or business-scoped user id.
        template_name: The template's name, for alerts.
        payload_bytes: The payload's own bytes, as they stood in the message body: what is sent.
        payload_digest: SHA-256 of the payload's content; white space and the order of keys do not change it.
        instructions: What the message's headers ask for.
        validity: Until when it may be sent.
    """

    tenant_id: TenantId
    phone_number_id: PhoneNumberId
    internal_id: InternalId
    correlation_id: str | None
    timestamp: str | float | None
    payload_type: str
    recipient: str | None
    template_name: str | None
    payload_bytes: bytes
    payload_digest: bytes
    instructions: Instructions
    validity: Validity
