"""The message that upstream publishes, and how its bytes become one.

Decoding is strict about what delivery needs (tenant, phone number, id, payload type) and lenient about the rest:
an optional field that nobody reads must not cost a customer a message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

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
from stream.contract.validity import ALWAYS, Validity

MESSAGE_MAX_BYTES: Final = 1024 * 1024  # by default; Meta's own limits on what it takes as JSON are far below
NO_INSTRUCTIONS: Final = Instructions()


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose message it is, as far as that can be read of one that is not valid."""

    tenant_id: TenantId | None = None
    internal_id: InternalId | None = None


UNKNOWN_OWNER: Final = Whose()


class InvalidMessage(ValueError):  # noqa: N818 - it reads as what it is: the message is invalid
    """The bytes are not a message of this contract.

    Attributes:
        field: The path of the field that is wrong, e.g. `metadata.tenantId`; `body` when it is not JSON at all.
        problem: What is wrong and how to fix it, without the offending value.
        whose: What could be read all the same.
    """

    def __init__(self, field: str, problem: str, whose: Whose = UNKNOWN_OWNER) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.whose = whose


def _number_as_text(value: object) -> object:
    """Accept an id that was serialised as a JSON integer."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _text_or_none(value: object) -> object:
    return value if isinstance(value, str) else None


def _moment(value: object) -> datetime | None:
    try:
        return None if value is None else read_moment(value)
    except ValueError:
        raise ValueError(
            "is no moment: write ISO 8601, or seconds or milliseconds since the epoch, or leave it out"
        ) from None


class Metadata(BaseModel):
    """Who sends, from which number, and how upstream calls the message."""

    model_config = ConfigDict(extra="allow", frozen=True)

    tenantId: Annotated[TenantId, BeforeValidator(_number_as_text)] = Field(  # noqa: N815 - the wire's name
        pattern=TENANT_ID_PATTERN,
        description="The tenant whose credentials send the message: 1 to 128 characters, no control characters.",
        examples=["acme"],
    )
    phoneNumberId: Annotated[PhoneNumberId, BeforeValidator(_number_as_text)] = Field(  # noqa: N815
        pattern=PHONE_NUMBER_ID_PATTERN,
        description="Meta's id of the sending number (not the number itself): digits.",
        examples=["100000001"],
    )
    internalId: Annotated[InternalId, BeforeValidator(_number_as_text)] = Field(  # noqa: N815
        pattern=INTERNAL_ID_PATTERN,
        description="Upstream's id of the message. Two payloads may share it: identity includes the payload.",
        examples=["order-4711-confirmation"],
    )
    correlationId: Annotated[str | None, BeforeValidator(_text_or_none)] = Field(  # noqa: N815
        default=None, description="Carried into events and logs."
    )
    # One that cannot be read is refused: a late one-time password is worse than none.
    validUntil: Annotated[  # noqa: N815
        Any, BeforeValidator(_moment), WithJsonSchema({"type": ["string", "number", "null"]})
    ] = Field(
        default=None,
        description="The message is not sent after this moment: ISO 8601 (without a zone in UTC), or seconds or "
        "milliseconds since the epoch. Without it, the AMQP property expiration says how long it is valid.",
        examples=["2026-11-24T06:20:00Z"],
    )
    # Read by nobody here, so a value of another type is kept rather than refused.
    timestamp: Annotated[Any, WithJsonSchema({"type": ["string", "number", "null"]})] = Field(
        default=None, description="When upstream made the message: ISO 8601, or seconds since the epoch."
    )
    priority: Annotated[Any, WithJsonSchema({"type": ["integer", "null"]})] = Field(
        default=None, description="Informative; order on the queue is not changed by it."
    )
    retryCount: Annotated[Any, WithJsonSchema({"type": ["integer", "null"]})] = Field(  # noqa: N815
        default=None, description="Informative; this worker counts its own retries in the header x-attempt."
    )


class OutboundMessage(BaseModel):
    """One ready-made WhatsApp message, as upstream publishes it to `outbound-processed`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    metadata: Metadata
    wabaPayload: dict[str, Any] = Field(  # noqa: N815 - the wire's name
        description="The body of Meta's POST /{phone-number-id}/messages. It reaches Meta byte for byte as it arrived."
    )
    # What `arrived_as` adds. Slots, because pydantic's private attributes cost more than all the rest of decoding; it
    # would make private attributes of these annotations, so they are for the type checker alone.
    __slots__ = ("_instructions", "_payload_bytes", "_payload_digest", "_validity")
    if TYPE_CHECKING:
        _payload_bytes: bytes
        _payload_digest: bytes
        _instructions: Instructions
        _validity: Validity

    def arrived_as(self, body: bytes, headers: Mapping[str, Any], validity: Validity) -> None:
        """Remember what the content alone does not say: the payload's own bytes, instructions and validity.

        Raises:
            InvalidMessage: The body is nested too deeply to be read again.
        """
        try:
            content = orjson.dumps(self.wabaPayload, option=orjson.OPT_SORT_KEYS)
            payload = bytes(_slice.decode(body).wabaPayload)
        except (orjson.JSONEncodeError, RecursionError):
            raise InvalidMessage("body", "is nested more deeply than any message needs: flatten it") from None
        remember = object.__setattr__  # assigning goes through pydantic, which takes as long as validation
        remember(self, "_payload_bytes", payload)
        remember(self, "_payload_digest", hashlib.sha256(content).digest())
        remember(self, "_instructions", Instructions.read(headers) if headers else NO_INSTRUCTIONS)
        remember(self, "_validity", validity.until(self.metadata.validUntil))

    @property
    def payload_bytes(self) -> bytes:
        """The payload's own bytes, as they stood in the message body: what is sent."""
        return self._payload_bytes

    @property
    def payload_digest(self) -> bytes:
        """SHA-256 of the payload's content; white space and the order of keys do not change it."""
        return self._payload_digest

    @property
    def instructions(self) -> Instructions:
        """What the message's headers ask for."""
        return self._instructions

    @property
    def validity(self) -> Validity:
        """Until when it may be sent."""
        return self._validity

    @property
    def tenant_id(self) -> TenantId:
        """The tenant whose credentials send it."""
        return self.metadata.tenantId

    @property
    def phone_number_id(self) -> PhoneNumberId:
        """Meta's id of the sending number."""
        return self.metadata.phoneNumberId

    @property
    def internal_id(self) -> InternalId:
        """Upstream's id; not unique alone."""
        return self.metadata.internalId

    @property
    def payload_type(self) -> str:
        """`wabaPayload.type`, e.g. `text`."""
        return str(self.wabaPayload["type"])

    @property
    def recipient(self) -> str | None:
        """Phone number, group id or business-scoped user id; `to` wins over `recipient`, as at Meta."""
        value = self.wabaPayload.get("to") or self.wabaPayload.get("recipient")
        return value if isinstance(value, str) else None

    @property
    def template_name(self) -> str | None:
        """The template's name, for alerts."""
        template = self.wabaPayload.get("template")
        name = template.get("name") if isinstance(template, dict) else None
        return name if isinstance(name, str) else None


class _PayloadSlice(msgspec.Struct):
    """Finds the payload's bytes inside the body, so that Meta gets what arrived and not a re-serialisation of it."""

    wabaPayload: msgspec.Raw  # noqa: N815 - the wire's name


_slice = msgspec.json.Decoder(_PayloadSlice)


def decode(
    body: bytes,
    headers: Mapping[str, Any] | None = None,
    validity: Validity = ALWAYS,
    *,
    max_bytes: int = MESSAGE_MAX_BYTES,
) -> OutboundMessage:
    """Turn a message body into an `OutboundMessage`.

    Args:
        body: As it arrived.
        headers: For the instructions in them.
        validity: What the message's properties and its age say.
        max_bytes: A longer body is refused unread: as objects it takes some thirty times the memory.

    Raises:
        InvalidMessage: With the first field that is wrong and how to fix it.
    """
    if len(body) > max_bytes:
        raise InvalidMessage("body", f"is {len(body):,} bytes long: at most {max_bytes:,} are read (MESSAGE_MAX_BYTES)")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidMessage(
            "body", f"is not JSON ({error.msg}, at byte {error.pos}): publish one JSON object"
        ) from None
    if not isinstance(content, dict):
        raise InvalidMessage("body", "is not a JSON object: publish an object with metadata and wabaPayload")
    try:
        message = OutboundMessage.model_validate(content)
        _check_payload(message.wabaPayload)
        message.arrived_as(body, headers or {}, validity)
    except ValidationError as error:
        raise InvalidMessage(*_explained(error), whose(content)) from None
    except InvalidMessage as error:
        raise InvalidMessage(error.field, error.problem, whose(content)) from None
    return message


def whose(content: Mapping[str, Any]) -> Whose:
    """Read tenant and internal id from a message of which something else is wrong."""
    metadata = content.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return Whose(
        tenant_id=_id_or_none(known.get("tenantId"), TENANT_ID_PATTERN),
        internal_id=_id_or_none(known.get("internalId"), INTERNAL_ID_PATTERN),
    )


def _id_or_none(value: object, pattern: str) -> Any:
    text = _number_as_text(value)
    return text if isinstance(text, str) and re.fullmatch(pattern, text) else None


_PATTERNS: Final = {
    "tenantId": "must be 1 to 128 characters, none of them a control character",
    "phoneNumberId": "must be digits only: it is Meta's id of the number, not the number",
    "internalId": "must be 1 to 256 printable ASCII characters without spaces",
}


def _explained(error: ValidationError) -> tuple[str, str]:
    """The first wrong field and how to fix it; the rejected value stays out, it may be anything."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    fixes = {"missing": "is required: add it", "string_pattern_mismatch": _PATTERNS.get(str(first["loc"][-1]), "")}
    return path, fixes.get(first["type"], first["msg"].removeprefix("Value error, "))


def _check_payload(payload: dict[str, Any]) -> None:
    """Ask for `type` and its same-named content: what Meta adds tomorrow has both, and Meta judges the rest."""
    kind = payload.get("type")
    if not isinstance(kind, str) or not kind:
        raise InvalidMessage("wabaPayload.type", 'is required: name the kind of message, e.g. "text"')
    if not isinstance(payload.get(kind), dict | list):
        raise InvalidMessage(f"wabaPayload.{kind[:64]}", "is required: the object that wabaPayload.type names")
