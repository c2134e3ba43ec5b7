"""Templates: their components, and the parameters that fill them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType

from stream.specification.payloads.media import MediaSource
from stream.specification.payloads.part import Part, Text, any_type_but, one_of_types, same_named

# Meta's examples show both "0" and 0.
Index = Annotated[int | str, Field(description="The button's place, from 0; a number, or the number as a string.")]


class Language(Part):
    """The template's language."""

    code: Text = Field(description="E.g. `en_US`; must be one in which the template is approved.", examples=["en_US"])


class Currency(Part):
    """An amount of money, shown in the recipient's format."""

    fallback_value: str = Field(description="Shown where the amount cannot be formatted.")
    code: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217.")
    amount_1000: int = Field(description="The amount times 1,000.")


class DateTime(Part):
    """A point in time."""

    fallback_value: str = Field(description="What is shown.")


class TemplateLocation(Part):
    """A place; in a template all four are needed."""

    latitude: float | str
    longitude: float | str
    name: Text
    address: Text


class LimitedTimeOffer(Part):
    """When an offer ends."""

    expiration_time_ms: int = Field(ge=0, description="Unix time in milliseconds.")


class TemplateParameter(Part):
    """One value for a placeholder. `type` names the field that holds it. Named or positional, never mixed."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra=same_named(
            "text",
            "currency",
            "date_time",
            "image",
            "video",
            "document",
            "location",
            "payload",
            "coupon_code",
            "action",
            "limited_time_offer",
        ),
    )

    type: Text = Field(
        description="text, currency, date_time, image, video, document, location, payload, coupon_code, action or "
        "limited_time_offer; Meta may add others."
    )
    parameter_name: Text | None = Field(default=None, description="For templates with named placeholders.")
    text: str | None = None
    currency: Currency | None = None
    date_time: DateTime | None = None
    image: MediaSource | None = None
    video: MediaSource | None = None
    document: MediaSource | None = None
    location: TemplateLocation | None = None
    payload: str | None = Field(default=None, description="Comes back when a quick reply is tapped.")
    coupon_code: str | None = Field(default=None, max_length=15, description="At most 15 characters.")
    action: dict[str, Any] | None = Field(
        default=None, description="For flow, catalogue and product buttons: `flow_token`, `flow_action_data`, …"
    )
    limited_time_offer: LimitedTimeOffer | None = None


class HeaderComponent(Part):
    """The header's values: text, image, video, document or location."""

    type: Literal["header"]
    parameters: list[TemplateParameter] = Field(max_length=1, description="One parameter.")


class BodyComponent(Part):
    """The body's values, in the order of the placeholders or by name."""

    type: Literal["body"]
    parameters: list[TemplateParameter]


class ButtonComponent(Part):
    """One button's value. A one-time password repeats the body's code in a `url` button with index 0."""

    type: Literal["button"]
    sub_type: Text = Field(
        description="quick_reply, url, copy_code, flow, catalog or mpm; in small letters or capitals."
    )
    index: Index
    parameters: list[TemplateParameter] | None = None


class OfferComponent(Part):
    """The end of a limited-time offer."""

    type: Literal["limited_time_offer"]
    parameters: list[TemplateParameter] = Field(min_length=1, max_length=1, description="One parameter.")


class TemplateCard(Part):
    """One card of a carousel template."""

    card_index: int = Field(ge=0, le=9, description="Its place, 0 to 9.")
    components: list[TemplateComponent]


class CarouselComponent(Part):
    """The cards of a carousel template."""

    type: Literal["carousel"]
    cards: list[TemplateCard] = Field(min_length=1, max_length=10, description="1 to 10 cards.")


KnownComponent = HeaderComponent | BodyComponent | ButtonComponent | OfferComponent | CarouselComponent


class OtherComponent(Part):
    """A component that is not described here; it is passed on as it is, and Meta judges it."""

    type: str = Field(min_length=1, json_schema_extra=any_type_but(KnownComponent))


TemplateComponent = TypeAliasType(
    "TemplateComponent",
    Annotated[
        KnownComponent | OtherComponent,
        Field(description="Values for one part of the template.", json_schema_extra=one_of_types),
    ],
)


class TemplateContent(Part):
    """An approved template, and the values for its placeholders."""

    name: str = Field(min_length=1, max_length=512, description="As in WhatsApp Manager; at most 512 characters.")
    language: Language
    components: list[TemplateComponent] | None = Field(
        default=None, description="Left out for a template without placeholders."
    )
