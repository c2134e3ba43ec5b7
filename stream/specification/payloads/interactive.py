"""Interactive messages: one model a subtype, each with the action that Meta wants for it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stream.specification.payloads.interactive_parts import (
    Body,
    Card,
    Footer,
    Header,
    ListSection,
    LongBody,
    ReplyButton,
    TextHeader,
    UrlButton,
)
from stream.specification.payloads.part import Part, Text, Title


class ButtonsAction(Part):
    """The buttons."""

    buttons: list[ReplyButton] = Field(min_length=1, max_length=3, description="1 to 3 buttons.")


class InteractiveButton(Part):
    """Up to three reply buttons."""

    type: Literal["button"]
    header: Header | None = None
    body: Body
    footer: Footer | None = None
    action: ButtonsAction


class ListAction(Part):
    """The choices."""

    button: Title = Field(description="Text of the button that opens the list; 1 to 20 characters.")
    sections: list[ListSection] = Field(min_length=1, max_length=10, description="1 to 10 sections.")


class InteractiveList(Part):
    """A list to choose from: up to ten rows in all."""

    type: Literal["list"]
    header: TextHeader | None = None
    body: LongBody
    footer: Footer | None = None
    action: ListAction


class CtaUrlAction(Part):
    """The link."""

    name: Literal["cta_url"]
    parameters: UrlButton


class InteractiveCtaUrl(Part):
    """One button that opens a link."""

    type: Literal["cta_url"]
    header: Header | None = None
    body: Body
    footer: Footer | None = None
    action: CtaUrlAction


class FlowParameters(Part):
    """Which Flow, and where it starts."""

    flow_message_version: Text = Field(description="`3`.", examples=["3"])
    flow_id: Text | None = Field(default=None, description="The Flow, by id; this or `flow_name`.")
    flow_name: Text | None = Field(default=None, description="The Flow, by name.")
    flow_cta: Title = Field(description="Text of the button; 1 to 20 characters, no emoji.")
    flow_token: Text | None = Field(default=None, description="Yours; comes back with the answers.")
    flow_action: Literal["navigate", "data_exchange"] | None = Field(default=None, description="Default `navigate`.")
    flow_action_payload: dict[str, Any] | None = Field(
        default=None, description="For `navigate`: `screen`, and `data` that is not empty."
    )
    mode: Literal["draft", "published"] | None = Field(default=None, description="Default `published`.")


class FlowAction(Part):
    """The Flow."""

    name: Literal["flow"]
    parameters: FlowParameters


class InteractiveFlow(Part):
    """Opens a WhatsApp Flow (forms, appointments)."""

    type: Literal["flow"]
    header: Header | None = None
    body: Body
    footer: Footer | None = None
    action: FlowAction


class VoiceCallParameters(Part):
    """How the call button looks, and how long it works."""

    display_text: Title | None = Field(default=None, description="On the button; 1 to 20 characters.")
    ttl_minutes: int | None = Field(
        default=None, ge=1, le=43_200, description="How long it works, 1 to 43,200 minutes; default 10,080 (7 days)."
    )


class CallAction(Part):
    """The call button."""

    name: Literal["voice_call"]
    parameters: VoiceCallParameters | None = None


class InteractiveVoiceCall(Part):
    """A button that calls the business. Needs calling to be enabled; has no footer."""

    type: Literal["voice_call"]
    body: Body
    action: CallAction


class CallPermissionAction(Part):
    """Asks."""

    name: Literal["call_permission_request"]


class InteractiveCallPermission(Part):
    """Asks for permission to call; limited per person."""

    type: Literal["call_permission_request"]
    body: Body
    action: CallPermissionAction


class LocationRequestAction(Part):
    """Asks."""

    name: Literal["send_location"]


class InteractiveLocationRequest(Part):
    """Asks for the recipient's location."""

    type: Literal["location_request_message"]
    body: Body
    action: LocationRequestAction


class ContactRequestAction(Part):
    """Asks."""

    name: Literal["request_contact_info"]


class InteractiveContactRequest(Part):
    """Asks for the recipient's phone number."""

    type: Literal["request_contact_info"]
    body: Body
    action: ContactRequestAction


class AddressParameters(Part):
    """Where, and what is known already."""

    country: Text = Field(description="ISO 3166, two letters; `IN` is the only one today.")
    values: dict[str, Any] | None = Field(default=None, description="Fields to fill in beforehand.")


class AddressAction(Part):
    """Asks."""

    name: Literal["address_message"]
    parameters: AddressParameters


class InteractiveAddress(Part):
    """Asks for a postal address. India only."""

    type: Literal["address_message"]
    header: Header | None = None
    body: Body
    footer: Footer | None = None
    action: AddressAction


class CarouselAction(Part):
    """The cards."""

    cards: list[Card] = Field(
        min_length=2, max_length=10, description="2 to 10 cards, all with the same kind of button."
    )


class InteractiveCarousel(Part):
    """Cards to swipe through."""

    type: Literal["carousel"]
    body: Body
    action: CarouselAction
