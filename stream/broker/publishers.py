"""What this worker publishes, declared as FastStream publishers so that the AsyncAPI document shows it.

They publish nothing themselves: `express.py` publishes the events, `handover.py` the dead letters. FastStream's own
publish waits for a reconnect, ignores its timeout, and cannot copy headers bit for bit.
"""

from __future__ import annotations

from typing import Final

from faststream.rabbit import RabbitBroker, RabbitQueue

from stream.broker.topology import DEAD_LETTERS, INTAKE
from stream.contract.publications import PUBLICATIONS

_EXCHANGES: Final = {exchange.name: exchange for exchange in (DEAD_LETTERS, INTAKE)}


def declare_publishers(broker: RabbitBroker) -> None:
    """Declare the publishers on a broker that has not started yet."""
    for each in PUBLICATIONS:
        broker.publisher(
            RabbitQueue(each.queue, routing_key=each.binding) if each.queue else "",
            _EXCHANGES[each.exchange],
            routing_key=each.binding,
            mandatory=each.mandatory,
            persist=each.persistent,
            title=each.name,
            description=each.description,
            schema=each.body,
        )
