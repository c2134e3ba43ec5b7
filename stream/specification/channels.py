"""The four channels and what is said of each; which queue or exchange it is, FastStream knows from the code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from stream.contract.identifiers import LONGEST_ROUTING_WORD
from stream.contract.lanes import lane_name
from stream.contract.publications import ALERT, DEAD_LETTER, SENT
from stream.contract.queues import INTAKE_BINDING, INTAKE_EXCHANGE, INTAKE_PREFIX, INTAKE_QUEUE

TENANT: Final = {
    "description": "metadata.tenantId. An event's key has its SHA-256 instead, as `sha256-` and 64 hexadecimal "
    f"digits, if the id is longer than {LONGEST_ROUTING_WORD} bytes, or a word of it (dots part them) is `*` or `#`.",
    "examples": ["acme"],
}


@dataclass(frozen=True, slots=True)
class ChannelText:
    """What FastStream cannot know about a channel.

    Attributes:
        key: Its name in the document.
        operation: The name of what the worker does there.
        title: For people.
        summary: One sentence on the operation.
        description: Markdown.
        tag: The tag of its operation.
        address: The routing key, with parameters.
        message_summary: One sentence on the message.
        headers: The schema of its headers.
        payload: The schema of its body.
        correlation_id: Where the correlation id is.
    """

    key: str
    operation: str
    title: str
    summary: str
    description: str
    tag: str
    address: str
    message_summary: str
    headers: str
    payload: str
    correlation_id: str


# By the title that the subscriber or publisher has in the code, which is the message's name too.
CHANNELS: Final = {
    "OutboundMessage": ChannelText(
        key="intake",
        operation="deliver",
        title=f"Intake: {INTAKE_QUEUE}",
        summary="Upstream publishes a message; the worker delivers it.",
        description=f"Publish to the exchange `{INTAKE_EXCHANGE}` with a routing key per tenant. The queue "
        f"`{INTAKE_QUEUE}` is bound with `{INTAKE_BINDING}`, or the operator binds the queues of shards in its place "
        "(INTAKE_QUEUE); what waits on it for 24 hours, or is refused, goes to "
        f"`{DEAD_LETTER.queue}`. What is beyond its tenant's share of the worker's slots is moved to one of the queues "
        f"`{lane_name(0)}`, `{lane_name(1)}` and so on (LANES), which are the worker's own.",
        tag="publish",
        address=INTAKE_PREFIX + "{tenantId}",
        message_summary="One ready-made WhatsApp message.",
        headers="OutboundHeaders",
        payload="OutboundMessage",
        correlation_id="$message.payload#/metadata/correlationId",
    ),
    DEAD_LETTER.name: ChannelText(
        key="deadLetters",
        operation="deadLetter",
        title=f"Dead letters: {DEAD_LETTER.queue}",
        summary="A message could not be delivered; it waits here for a person.",
        description=f"The durable queue `{DEAD_LETTER.queue}` on the exchange `{DEAD_LETTER.exchange}`. Nothing "
        "consumes it: messages stay until an operator replays or discards them.",
        tag="operations",
        address=DEAD_LETTER.address,
        message_summary=DEAD_LETTER.description,
        headers="DeadLetterHeaders",
        payload="DeadLetterBody",
        correlation_id="$message.payload#/metadata/correlationId",
    ),
    SENT.name: ChannelText(
        key="sent",
        operation="announceSent",
        title="Events: sent",
        summary=SENT.description,
        description="Accepted by Meta, not yet on the phone: delivery and reading are told by Meta's own status "
        f"webhooks, which name the `wamid`. Bind a queue to `{SENT.binding}`, or to one tenant's key; when nobody "
        "does, the event is dropped. It may come twice: tell events apart by `wamid`.",
        tag="events",
        address=SENT.address,
        message_summary=SENT.description,
        headers="EventHeaders",
        payload=SENT.name,
        correlation_id="$message.payload#/correlationId",
    ),
    ALERT.name: ChannelText(
        key="alert",
        operation="raiseAlert",
        title="Events: alert",
        summary="A message was dead-lettered, and a person should know.",
        description="Published for the error types that say `alert` (an operator should act) or `notify` (the tenant "
        f"should know). Bind a queue to `{ALERT.binding}`, or to one tenant's key; when nobody does, the event is "
        "dropped.",
        tag="events",
        address=ALERT.address,
        message_summary=ALERT.description,
        headers="EventHeaders",
        payload=ALERT.name,
        correlation_id="$message.payload#/correlationId",
    ),
}


def parameters(address: str) -> dict[str, Any]:
    """The parameters of an address."""
    return {"tenantId": TENANT} if "{tenantId}" in address else {}
