"""The payload: eleven types that are described, and an open end for the type that Meta adds tomorrow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from stream.specification.payloads import interactive, orders, products
from stream.specification.payloads.contacts import ContactCard
from stream.specification.payloads.envelope import Envelope
from stream.specification.payloads.media import (
    AudioContent,
    DocumentContent,
    ImageContent,
    LocationContent,
    ReactionContent,
    StickerContent,
    TextContent,
    VideoContent,
)
from stream.specification.payloads.part import Part, any_type_but, one_of_types
from stream.specification.payloads.template import TemplateContent


class TextPayload(Envelope):
    """A text. Free-form: only within 24 hours of the customer's last message."""

    type: Literal["text"]
    text: TextContent


class TemplatePayload(Envelope):
    """An approved template: the only way to write first."""

    type: Literal["template"]
    template: TemplateContent


class ImagePayload(Envelope):
    """A picture."""

    type: Literal["image"]
    image: ImageContent


class VideoPayload(Envelope):
    """A video."""

    type: Literal["video"]
    video: VideoContent


class AudioPayload(Envelope):
    """A sound file or a voice message. It has no caption: send one as a second message with the same internalId."""

    type: Literal["audio"]
    audio: AudioContent


class DocumentPayload(Envelope):
    """A file to download."""

    type: Literal["document"]
    document: DocumentContent


class StickerPayload(Envelope):
    """A sticker."""

    type: Literal["sticker"]
    sticker: StickerContent


class LocationPayload(Envelope):
    """A place on the map."""

    type: Literal["location"]
    location: LocationContent


class ContactsPayload(Envelope):
    """Contact cards."""

    type: Literal["contacts"]
    contacts: list[ContactCard] = Field(min_length=1, max_length=257, description="1 to 257 cards.")


KnownInteractive = (
    interactive.InteractiveButton
    | interactive.InteractiveList
    | interactive.InteractiveCtaUrl
    | interactive.InteractiveFlow
    | products.InteractiveProduct
    | products.InteractiveProductList
    | products.InteractiveCatalog
    | interactive.InteractiveLocationRequest
    | interactive.InteractiveContactRequest
    | interactive.InteractiveAddress
    | interactive.InteractiveCarousel
    | interactive.InteractiveCallPermission
    | interactive.InteractiveVoiceCall
    | orders.InteractiveOrderDetails
    | orders.InteractiveOrderStatus
)


class OtherInteractive(Part):
    """A subtype that is not described here; it is passed on as it is, and Meta judges it."""

    type: str = Field(min_length=1, json_schema_extra=any_type_but(KnownInteractive))


InteractiveContent = TypeAliasType(
    "InteractiveContent",
    Annotated[
        KnownInteractive | OtherInteractive,
        Field(description="A message with something to tap; `type` says what.", json_schema_extra=one_of_types),
    ],
)


class InteractivePayload(Envelope):
    """Buttons, lists, links, Flows, products, requests. Free-form: only within the 24-hour window."""

    type: Literal["interactive"]
    interactive: InteractiveContent


class ReactionPayload(Envelope):
    """An emoji on an earlier message."""

    type: Literal["reaction"]
    reaction: ReactionContent


KnownPayload = (
    TextPayload
    | TemplatePayload
    | ImagePayload
    | VideoPayload
    | AudioPayload
    | DocumentPayload
    | StickerPayload
    | LocationPayload
    | ContactsPayload
    | InteractivePayload
    | ReactionPayload
)


class OtherPayload(Envelope):
    """Any other type, e.g. `pin`: forwarded as it is, and Meta judges it.

    It must have an object or array of the same name as its `type`: without one the worker dead-letters it as
    INVALID_MESSAGE.
    """

    type: str = Field(min_length=1, json_schema_extra=any_type_but(KnownPayload))


WabaPayload = TypeAliasType(
    "WabaPayload",
    Annotated[
        KnownPayload | OtherPayload,
        Field(
            description="The body of Meta's `POST /{phone-number-id}/messages`; `type` names the kind, and the field "
            "of the same name holds the content. It reaches Meta byte for byte as it arrived.",
            json_schema_extra=one_of_types,
        ),
    ],
)
