"""Routing by `wabaPayload.type`: which types are known, and what is worth checking before Meta is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from stream.contract.messages import InvalidMessage, OutboundMessage


@dataclass(frozen=True, slots=True)
class Route:
    """How a payload type is sent.

    Attributes:
        name: The type, or `forward` for one that this release does not know: bounded, so fit for a metric's label.
        content: The JSON kind of the same-named content.
    """

    name: str
    content: type[dict[str, Any] | list[Any]]


_OBJECTS: Final = (
    "text",
    "template",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "interactive",
    "reaction",
)
# US.1349…, or US.ENT.1349… for a parent's: Meta's form of it. No phone number and no group id looks like that.
_BUSINESS_SCOPED_USER_ID: Final = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")
ROUTES: Final = {name: Route(name, dict) for name in _OBJECTS} | {"contacts": Route("contacts", list)}
FORWARD: Final = Route("forward", dict)


def route_for(message: OutboundMessage) -> Route:
    """The route of a message; what Meta adds tomorrow is forwarded, and Meta judges it.

    Raises:
        InvalidMessage: A known type whose content is of the wrong JSON kind; a recipient in the wrong field.
    """
    to = message.wabaPayload.get("to")
    if isinstance(to, str) and _BUSINESS_SCOPED_USER_ID.fullmatch(to):
        # Meta answers HTTP 200 with a message id, and the message reaches nobody.
        raise InvalidMessage("wabaPayload.to", "is a business-scoped user id: put it into recipient, without to")
    kind = message.payload_type
    route = ROUTES.get(kind)
    if route is None:
        return FORWARD
    if not isinstance(message.wabaPayload[kind], route.content):
        wanted = "an object" if route.content is dict else "an array"
        raise InvalidMessage(f"wabaPayload.{kind}", f"must be {wanted}")
    return route
