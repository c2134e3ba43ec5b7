"""What this worker publishes, declared as FastStream publishers so that the AsyncAPI document shows it."""

from __future__ import annotations

from dataclasses import dataclass

from faststream.rabbit import RabbitBroker, RabbitQueue
from faststream.rabbit.publisher import RabbitPublisher

from stream.contract import delays
from stream.contract.events import DeliveryAlert, DeliverySent
from stream.contract.messages import OutboundMessage
from stream.contract.queues import ALERT_KEY_PREFIX, DEAD_LETTER_KEY, DEAD_LETTER_QUEUE, SENT_KEY_PREFIX
from stream.contract.topology import DEAD_LETTERS, INTAKE


@dataclass(frozen=True, slots=True)
class Publishers:
    """Where a settled message can go."""

    dead_letters: RabbitPublisher
    waits: RabbitPublisher


def declare_publishers(broker: RabbitBroker) -> Publishers:
    """Declare the publishers on a broker that has not started yet."""
    _declare_events(broker)
    return Publishers(
        dead_letters=broker.publisher(
            RabbitQueue(DEAD_LETTER_QUEUE, routing_key=DEAD_LETTER_KEY),
            DEAD_LETTERS,
            persist=True,
            title="DeadLetter",
            description="A message that was given up: original bytes, properties and headers, and the whole reason.",
            schema=OutboundMessage,
        ),
        # Internal: a waiting message comes back by itself, and nobody else should consume it.
        waits=broker.publisher(delays.level_name(0), persist=True, include_in_schema=False),
    )


def _declare_events(broker: RabbitBroker) -> None:
    """Declare the events, for the document only: the express lane (`express.py`) publishes them."""
    broker.publisher(
        routing_key=SENT_KEY_PREFIX + "#",
        exchange=INTAKE,
        persist=True,
        mandatory=False,  # nobody has to bind the events
        title="DeliverySent",
        description="Meta accepted a message.",
        schema=DeliverySent,
    )
    broker.publisher(
        routing_key=ALERT_KEY_PREFIX + "#",
        exchange=INTAKE,
        persist=True,
        mandatory=False,
        title="DeliveryAlert",
        description="A failure that a person should know of.",
        schema=DeliveryAlert,
    )
