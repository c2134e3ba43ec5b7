"""The fields that every payload has, whatever its type."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from stream.specification.payloads.part import Part, Text


class ReplyContext(Part):
    """Makes the message a reply to an earlier one."""

    message_id: Text = Field(description="The WAMID of the message that is answered.")


class DirectSendConfig(Part):
    """Options of Direct Send (beta)."""

    template_name: Text = Field(description="Name under which Meta keeps the message as a template.")


class Envelope(Part):
    """What every payload has: to whom, and how Meta should treat it."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"anyOf": [{"required": ["to"]}, {"required": ["recipient"]}]}
    )

    messaging_product: Literal["whatsapp"] = Field(description="Always `whatsapp`.")
    recipient_type: Literal["individual", "group"] = Field(
        default="individual", description="`group` sends to a group; groups take text, media and their templates only."
    )
    to: Text | None = Field(
        default=None,
        description="Phone number with country code (a leading + is allowed), or a group id. Wins over `recipient`. "
        "A business-scoped user id is refused here: Meta would accept it and deliver nothing.",
        examples=["+16505551234"],
    )
    recipient: Text | None = Field(
        default=None,
        description="Business-scoped user id (BSUID), for people whose phone number is not known.",
        examples=["US.13491208655302741918"],
    )
    context: ReplyContext | None = None
    biz_opaque_callback_data: str | None = Field(
        default=None,
        max_length=512,
        description="Free text that Meta echoes in its status webhooks; at most 512 characters.",
    )
    recipient_identity_key_hash: Text | None = Field(
        default=None, description="Deliver only while the recipient's identity key matches; else Meta answers 137000."
    )
    category: Literal["utility", "authentication", "service"] | None = Field(
        default=None, description="Direct Send (beta): the category, for a message outside the 24-hour window."
    )
    ttl_seconds: int | None = Field(
        default=None,
        ge=30,
        le=43_200,
        description="Direct Send (beta): time to live, 30 to 43,200 seconds (authentication: to 900). "
        "An expired message vanishes without any error.",
    )
    direct_send_config: DirectSendConfig | None = None
    product_policy: Literal["CLOUD_API_FALLBACK", "STRICT"] | None = Field(
        default=None, description="Marketing templates: what Meta does when the marketing endpoint cannot be used."
    )
    message_activity_sharing: bool | None = Field(
        default=None, description="Marketing templates: whether activity is shared with Meta's ads."
    )
