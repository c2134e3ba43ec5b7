"""What the publishers of the tour send."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import orjson

from sandbox.recoveries import NOT_IN_WEBHOOKS

REVOKED = "wind-and-wool-shape4"  # the tenant whose token Meta refuses, until it has a new one
IN_WEBHOOKS = "lucky-shrub-shape2"  # the tenant whose messages in doubt have arrived
WRONG_TEMPLATE = "order_updte"

TEXT = {"type": "text", "text": {"body": "Your order is on its way."}}
TEMPLATED = {"type": "template", "template": {"name": WRONG_TEMPLATE, "language": {"code": "en_US"}}}


@dataclass(frozen=True)
class Message:
    """One message, to a recipient of its own.

    Attributes:
        tenant: Whose it is.
        to: The recipient; some are magic numbers, see `sandbox.numbers`.
        content: Its type, and the object of that name.
        internal_id: The publisher's id.
        fails: Whether it is dead-lettered at first.
    """

    tenant: str
    to: str
    content: dict[str, Any]
    internal_id: str
    fails: bool

    @property
    def body(self) -> bytes:
        """As it is published."""
        metadata = {"tenantId": self.tenant, "phoneNumberId": "100000001", "internalId": self.internal_id}
        payload = {"messaging_product": "whatsapp", "to": self.to} | self.content
        return orjson.dumps({"metadata": metadata, "wabaPayload": payload})


def tour_messages() -> list[Message]:
    """All of them; a Redis that remembers another tour takes them as new."""
    run = secrets.token_hex(3)
    groups = (
        (2, "acme", "1650555", TEXT, False),
        (4, REVOKED, "1650556", TEXT, True),
        (3, "acme", "1650557", TEMPLATED, True),
        (2, NOT_IN_WEBHOOKS, "999510", TEXT, True),  # the connection is reset before the message is taken
        (2, IN_WEBHOOKS, "999511", TEXT, True),  # and here afterwards
    )
    return [
        Message(tenant, f"{prefix}{n:04d}", content, f"tour-{run}-{prefix}-{n}", fails)
        for count, tenant, prefix, content, fails in groups
        for n in range(count)
    ]
