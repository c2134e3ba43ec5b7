"""The events this worker publishes on `whatsapp-exchange`; no queue need be bound for them.

All that the contract says of their fields stands here; the names on the wire are those of the fields in camel case.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
import orjson
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from stream.contract.identifiers import ERROR_TYPE_PATTERN
from stream.contract.moments import Moment
from stream.contract.replay import Replay

_KEPT: Final = (datetime,)


class Scope(StrEnum):
    """What is in trouble when an error arrives: how far its consequences reach."""

    MESSAGE = "message"
    RECIPIENT = "recipient"
    PAIR = "pair"
    PHONE_NUMBER = "phone_number"
    TENANT = "tenant"
    PLATFORM = "platform"


class Event(BaseModel):
    """What every event says of its message. A field without a value is left out."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True)

    tenant_id: str = Field(description="metadata.tenantId of the message.")
    internal_id: str = Field(description="metadata.internalId of the message.")
    correlation_id: str | None = Field(
        default=None, description="metadata.correlationId of the message; absent when it had none."
    )
    phone_number_id: str = Field(description="Meta's id of the sending number.")
    type: str = Field(description="wabaPayload.type")


class DeliverySent(Event):
    """Meta accepted the message. Routing key `outbound.sent.{tenantId}`."""

    wamid: str = Field(min_length=1, description="Meta's id of the message; its status webhooks refer to it.")
    wa_id: str | None = Field(default=None, description="The recipient's WhatsApp id; absent for a BSUID.")
    message_status: str | None = Field(
        default=None, description="accepted, held_for_quality_assessment or paused; Meta sends it for paced templates."
    )
    attempts: int = Field(ge=1, description="Sends it took, the first included.")
    possibly_sent_twice: bool = Field(
        default=False, description="An earlier send of this message got no answer and may have been delivered too."
    )
    first_seen_at: Moment = Field(description="When this worker first saw the message, ISO 8601 in UTC.")
    sent_at: Moment = Field(description="When Meta's answer arrived, ISO 8601 in UTC.")
    process_ms: float | None = Field(
        default=None, ge=0, description="Duration of the last try, credentials included, in milliseconds."
    )


class DeliveryAlert(Event):
    """A failure that a person should know of. Routing key `outbound.alert.{tenantId}`."""

    template_name: str | None = Field(default=None, description="The template's name; absent for other types.")
    error_type: str = Field(pattern=ERROR_TYPE_PATTERN, description="A row of the error table.")
    error_code: int | None = Field(default=None, description="Meta's error.code.")
    error_subcode: int | None = Field(default=None, description="Meta's error.error_subcode.")
    http_status: int | None = Field(
        default=None,
        description="Meta's HTTP status; absent when there was no answer.",
        # Only described: an alert of a status that no server should answer with is still worth publishing.
        json_schema_extra={"minimum": 100, "maximum": 599},
    )
    scope: Annotated[Scope, WithJsonSchema({"type": "string", "enum": [each.value for each in Scope]})] = Field(
        description=f"What is in trouble: {', '.join(Scope)}."
    )
    alert: bool = Field(description="An operator should act.")
    notify: bool = Field(description="The tenant should know.")
    meaning: str = Field(description="What the error means, for people; from the error table.")
    advice: str = Field(description="What to do about it, for people; from the error table.")
    replay: Annotated[Replay, WithJsonSchema({"type": "string", "enum": [each.value for each in Replay]})] = Field(
        description="Whether the dead letter is worth replaying, as its header x-replay says."
    )
    fingerprint: str = Field(description="Names the cause: the same for all letters of one cause.")
    failed_at: Moment = Field(description="ISO 8601 in UTC.")
    count: int | None = Field(
        default=None,
        ge=1,
        description="Failures of this tenant and error type since their last alert, this one included; "
        "absent in an alert of a circuit.",
    )
    circuit: str | None = Field(
        default=None,
        json_schema_extra={"enum": ["open", "half_open", "closed"]},
        description="Only in an alert of a circuit: its new state. `scope` says what it is for.",
    )
    circuit_id: str | None = Field(
        default=None, description="Whose circuit it is: a tenant id, a phone number id, or meta."
    )
    failures: int | None = Field(default=None, ge=0, description="How many failures in a row the circuit has seen.")
    since: Moment | None = Field(default=None, description="When the first of them came, ISO 8601 in UTC.")


def quick_form(event: type[Event]) -> type[msgspec.Struct]:
    """A struct with the event's fields and names on the wire, for `quick_json`; its values are not checked."""
    fields = event.model_fields
    return msgspec.defstruct(
        event.__name__,
        [(name, Any, None) if field.default is None else (name, Any) for name, field in fields.items()],
        rename={name: str(field.alias) for name, field in fields.items()},
        kw_only=True,
        omit_defaults=True,  # what is not known is left out
    )


def quick_json(event: msgspec.Struct) -> bytes:
    """The JSON that the event itself would give; moments may be of type `datetime`."""
    # orjson writes moments as `isoformat` does; msgspec would write those in UTC with a Z.
    return orjson.dumps(msgspec.to_builtins(event, builtin_types=_KEPT))
