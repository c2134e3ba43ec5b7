"""What this worker publishes, declared as FastStream publishers so that the AsyncAPI document shows it.

They publish nothing themselves: events leave by the express lane (`express.py`), dead letters by `handover.py`.
FastStream's own publish waits for a reconnect, ignores its timeout, and cannot copy headers bit for bit.
"""

from __future__ import annotations

from faststream.rabbit import RabbitBroker, RabbitQueue

from stream.broker.topology import DEAD_LETTERS, INTAKE
from stream.contract.events import DeliveryAlert, DeliverySent
from stream.contract.messages import OutboundMessage
from stream.contract.queues import ALERT_KEY_PREFIX, DEAD_LETTER_KEY, DEAD_LETTER_QUEUE, SENT_KEY_PREFIX


def declare_publishers(broker: RabbitBroker) -> None:
    """Declare the publishers on a broker that has not started yet."""
    broker.publisher(
        RabbitQueue(DEAD_LETTER_QUEUE, routing_key=DEAD_LETTER_KEY),
        DEAD_LETTERS,
        persist=True,
        title="DeadLetter",
        description="A message that was given up: original bytes, properties and headers, and the whole reason.",
        schema=OutboundMessage,
    )
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
