"""What RabbitMQ has read from the worker's connections and written to them, by its own count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from bench.load import CONNECTION_NAME
from sandbox.rabbitmq import PrivateRabbitMQ

if TYPE_CHECKING:
    from sandbox.world import RunningRabbitMQ


@dataclass(frozen=True, slots=True)
class BrokerCounts:
    """Counts since the worker's connections were opened, all of them together.

    Attributes:
        reads: Packets that RabbitMQ has received from the worker; one may hold several frames.
        writes: Packets that it has sent to the worker.
    """

    reads: int
    writes: int


class BrokerCounter:
    """Asks RabbitMQ through rabbitmqctl, which takes most of a second of CPU: not while something is measured.

    Args:
        rabbitmq: Only one of our own can be asked.
    """

    def __init__(self, rabbitmq: RunningRabbitMQ | PrivateRabbitMQ) -> None:
        self._rabbitmq = rabbitmq

    def counts(self) -> BrokerCounts | None:
        """The counts of the workers that are connected now; `None` where the server cannot be asked."""
        if not isinstance(self._rabbitmq, PrivateRabbitMQ):
            return None
        return parse(
            self._rabbitmq.ctl("list_connections", "--formatter", "json", "recv_cnt", "send_cnt", "client_properties")
        )


def parse(connections: str) -> BrokerCounts:
    """Add up what rabbitmqctl says of all connections but the publisher's, which has a name."""
    publisher = ["connection_name", "longstr", CONNECTION_NAME]
    workers = [each for each in orjson.loads(connections) if publisher not in each["client_properties"]]
    return BrokerCounts(sum(each["recv_cnt"] for each in workers), sum(each["send_cnt"] for each in workers))
