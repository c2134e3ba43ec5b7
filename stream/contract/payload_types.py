"""The payload types that this release knows, and what is checked before Meta is asked."""

from __future__ import annotations

import re
from typing import Any, Final

from stream.contract.messages import InvalidMessage

# Type → the JSON kind of its same-named content.
KNOWN_TYPES: Final[dict[str, type]] = {
    "text": dict,
    "template": dict,
    "image": dict,
    "video": dict,
    "audio": dict,
    "document": dict,
    "sticker": dict,
    "location": dict,
    "interactive": dict,
    "reaction": dict,
    "contacts": list,
}
# US.1349…, or US.ENT.1349… for a parent's: Meta's form of it. No phone number and no group id looks like that.
_BUSINESS_SCOPED_USER_ID: Final = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")


def check_payload(payload: dict[str, Any]) -> None:
    """Require `type` and the content of the same name. A future type of Meta's has both, and Meta checks the rest.

    Raises:
        InvalidMessage: One of them is missing or of the wrong JSON kind; a recipient in the wrong field.
    """
    kind = payload.get("type")
    if not isinstance(kind, str) or not kind:
        raise InvalidMessage("wabaPayload.type", 'is required: name the kind of message, e.g. "text"')
    content, wanted = payload.get(kind), KNOWN_TYPES.get(kind)
    if wanted is None and not isinstance(content, dict | list):  # its name is not repeated, since it may be anything
        raise InvalidMessage("wabaPayload.type", "names no object of wabaPayload: add that object, or correct the name")
    if wanted is not None and not isinstance(content, wanted):
        json_kind = "an object" if wanted is dict else "an array"
        raise InvalidMessage(f"wabaPayload.{kind}", f"must be {json_kind}: the content that wabaPayload.type names")
    to = payload.get("to")
    if isinstance(to, str) and _BUSINESS_SCOPED_USER_ID.fullmatch(to):
        # Meta answers HTTP 200 with a message id, but the message is not delivered.
        raise InvalidMessage("wabaPayload.to", "is a business-scoped user id: put it into recipient, without to")
