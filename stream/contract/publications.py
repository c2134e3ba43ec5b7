"""What this worker publishes for others: where, how, and what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from stream.contract.events import DeliveryAlert, DeliverySent
from stream.contract.messages import OutboundMessage
from stream.contract.queues import DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, DEAD_LETTER_QUEUE, INTAKE_EXCHANGE


@dataclass(frozen=True, slots=True)
class Publication:
    """One kind of message that the worker publishes.

    Attributes:
        name: Its name in the contract.
        body: The model of its body.
        description: One sentence.
        exchange: Where it is published.
        key: Its routing key; if it is published per tenant, what comes before the tenant.
        queue: The queue that the worker declares for it, if it declares one.
        per_tenant: Whether the tenant ends the routing key.
        mandatory: Whether a queue must take it.
        persistent: Whether it survives a restart of RabbitMQ.
    """

    name: str
    body: type[BaseModel]
    description: str
    exchange: str
    key: str
    queue: str = ""
    per_tenant: bool = False
    mandatory: bool = True
    persistent: bool = True

    @property
    def address(self) -> str:
        """The routing key, with the tenant as a parameter."""
        return self.key + "{tenantId}" * self.per_tenant

    @property
    def binding(self) -> str:
        """What a queue is bound with that takes all of it."""
        return self.key + "#" * self.per_tenant


DEAD_LETTER: Final = Publication(
    name="DeadLetter",
    body=OutboundMessage,
    description="A message that was given up: original bytes, properties and headers, and the whole reason.",
    exchange=DEAD_LETTER_EXCHANGE,
    key=DEAD_LETTER_KEY,
    queue=DEAD_LETTER_QUEUE,
)
# Nobody has to bind the events.
SENT: Final = Publication(
    name="DeliverySent",
    body=DeliverySent,
    description="Meta accepted a message.",
    exchange=INTAKE_EXCHANGE,
    key="outbound.sent.",
    per_tenant=True,
    mandatory=False,
)
ALERT: Final = Publication(
    name="DeliveryAlert",
    body=DeliveryAlert,
    description="A failure that a person should know of.",
    exchange=INTAKE_EXCHANGE,
    key="outbound.alert.",
    per_tenant=True,
    mandatory=False,
)
PUBLICATIONS: Final = (DEAD_LETTER, SENT, ALERT)
