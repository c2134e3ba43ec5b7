"""The events this worker publishes on `whatsapp-exchange`; nobody has to bind them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DeliverySent(BaseModel):
    """Meta accepted the message. Routing key `outbound.sent.{tenantId}`."""

    model_config = ConfigDict(frozen=True)

    tenantId: str  # noqa: N815 - the wire's names, here and below
    internalId: str  # noqa: N815
    correlationId: str | None = None  # noqa: N815
    phoneNumberId: str  # noqa: N815
    type: str = Field(description="wabaPayload.type")
    wamid: str = Field(description="Meta's id of the message; its status webhooks refer to it.")
    waId: str | None = Field(default=None, description="The recipient's WhatsApp id; absent for a BSUID.")  # noqa: N815
    messageStatus: str | None = Field(  # noqa: N815
        default=None, description="accepted, held_for_quality_assessment or paused; Meta sends it for paced templates."
    )
    attempts: int = Field(description="Sends it took, the first included.")
    possiblySentTwice: bool = Field(  # noqa: N815
        default=False, description="An earlier send of this message got no answer and may have been delivered too."
    )
    firstSeenAt: str = Field(description="When this worker first saw the message, ISO 8601 in UTC.")  # noqa: N815
    sentAt: str = Field(description="When Meta's answer arrived, ISO 8601 in UTC.")  # noqa: N815
    processMs: float | None = Field(  # noqa: N815
        default=None, description="Duration of the last try, credentials included, in milliseconds."
    )


class DeliveryAlert(BaseModel):
    """A failure that a person should know of. Routing key `outbound.alert.{tenantId}`."""

    model_config = ConfigDict(frozen=True)

    tenantId: str  # noqa: N815 - the wire's names, here and below
    internalId: str  # noqa: N815
    correlationId: str | None = None  # noqa: N815
    phoneNumberId: str  # noqa: N815
    type: str = Field(description="wabaPayload.type")
    templateName: str | None = None  # noqa: N815
    errorType: str = Field(description="A row of the error table.")  # noqa: N815
    errorCode: int | None = Field(default=None, description="Meta's error.code.")  # noqa: N815
    errorSubcode: int | None = Field(default=None, description="Meta's error.error_subcode.")  # noqa: N815
    httpStatus: int | None = None  # noqa: N815
    scope: str = Field(description="What is in trouble: message, recipient, pair, phone_number, tenant, platform.")
    alert: bool = Field(description="An operator should act.")
    notify: bool = Field(description="The tenant should know.")
    meaning: str
    advice: str
    failedAt: str = Field(description="ISO 8601 in UTC.")  # noqa: N815
