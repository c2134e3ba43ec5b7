"""The topology: the exchanges, the queues and their bindings, as values. `declaration.py` declares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from faststream.rabbit import ExchangeType, RabbitExchange, RabbitQueue
from faststream.rabbit.schemas.queue import QueueType

from stream.contract import delays
from stream.contract.lanes import DEFAULT_LANES
from stream.contract.queues import (
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_KEY,
    DEAD_LETTER_QUEUE,
    INTAKE_ARGUMENTS,
    INTAKE_BINDING,
    INTAKE_EXCHANGE,
    INTAKE_QUEUE,
    QueueKind,
    due_queue,
)

INTAKE: Final = RabbitExchange(INTAKE_EXCHANGE, type=ExchangeType.TOPIC)
DELIVERY: Final = RabbitExchange(delays.DELIVERY_EXCHANGE, type=ExchangeType.TOPIC)
DEAD_LETTERS: Final = RabbitExchange(DEAD_LETTER_EXCHANGE, type=ExchangeType.TOPIC)

# At-least-once dead-lettering needs a queue that refuses instead of dropping its oldest messages.
_AT_LEAST_ONCE: Final = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}

# From 4.0 on, RabbitMQ takes a message off a quorum queue when it has come back 20 times: a dead letter that somebody
# looked at is then gone. -1 switches that off. Before 4.0 there is no limit, and -1 would mean "at once".
DELIVERY_LIMIT: Final = "x-delivery-limit"
NO_DELIVERY_LIMIT: Final = {DELIVERY_LIMIT: -1}


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue with the binding by which its messages come.

    Attributes:
        name: Its name.
        exchange: The exchange that it is bound to.
        pattern: Which routing keys it takes there.
        kind: Its type.
        arguments: The others, except those that its type asks for.
    """

    name: str
    exchange: str
    pattern: str
    kind: QueueKind
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def declared_with(self) -> dict[str, Any]:
        """All arguments of its declaration, except a delivery limit."""
        dead_letters = self.kind == "quorum" and "x-dead-letter-exchange" in self.arguments
        return {"x-queue-type": self.kind, **self.arguments, **(_AT_LEAST_ONCE if dead_letters else {})}

    def subscribed(self, *, unlimited: bool = False) -> RabbitQueue:
        """The queue as FastStream's subscriber declares it.

        Args:
            unlimited: It was declared without a delivery limit.
        """
        arguments: Any = {**self.declared_with, **(NO_DELIVERY_LIMIT if unlimited else {})}
        kind: Any = QueueType(self.kind)
        return RabbitQueue(self.name, queue_type=kind, durable=True, routing_key=self.pattern, arguments=arguments)


@dataclass(frozen=True, slots=True)
class Topology:
    """What a worker needs on RabbitMQ.

    Attributes:
        kind: `RABBITMQ_QUEUE_TYPE`, for the intake and `outbound-failed`; all others are always quorum queues.
        lanes: `LANES`.
        intake_name: `INTAKE_QUEUE`.
    """

    kind: QueueKind = "classic"
    lanes: int = DEFAULT_LANES
    intake_name: str = INTAKE_QUEUE

    @property
    def intake(self) -> Queue:
        """The intake. Under another name than the default it is a shard's, which its operator binds."""
        if self.intake_name == INTAKE_QUEUE:
            return Queue(INTAKE_QUEUE, INTAKE_EXCHANGE, INTAKE_BINDING, self.kind, INTAKE_ARGUMENTS)
        return _back_from_wait(self.intake_name, self.kind)

    @property
    def intake_exchange(self) -> RabbitExchange:
        """The exchange that the worker binds the intake to."""
        return INTAKE if self.intake_name == INTAKE_QUEUE else DELIVERY

    @property
    def due(self) -> Queue:
        """The queue of messages whose reserved time has come."""
        return _back_from_wait(due_queue(self.intake_name))

    @property
    def shared(self) -> list[Queue]:
        """The queues that other services may declare too."""
        return [Queue(DEAD_LETTER_QUEUE, DEAD_LETTER_EXCHANGE, DEAD_LETTER_KEY, self.kind), self.intake]

    def given_back(self, lanes: tuple[str, ...]) -> list[Queue]:
        """The queues whose messages are taken and given back, so that a delivery limit would lose some.

        Args:
            lanes: The names of the lanes.
        """
        return [*self.shared, self.due, *map(_back_from_wait, lanes)]

    def subscribed(self, name: str, unlimited: frozenset[str]) -> RabbitQueue:
        """Any queue that this worker consumes, as FastStream's subscriber declares it.

        Args:
            name: Its name.
            unlimited: The queues that were declared without a delivery limit.
        """
        queue = self.intake if name == self.intake_name else _back_from_wait(name)
        return queue.subscribed(unlimited=name in unlimited)

    def shared_arguments(self, unlimited: frozenset[str]) -> dict[str, dict[str, Any]]:
        """The arguments of the queues that other services may declare too, by their names.

        Args:
            unlimited: The queues that were declared without a delivery limit.
        """
        return {
            queue.name: {**queue.declared_with, **(NO_DELIVERY_LIMIT if queue.name in unlimited else {})}
            for queue in self.shared
        }


def levels() -> list[Queue]:
    """The delay levels' queues; each has an exchange of its name."""
    return [
        Queue(
            delays.level_name(level),
            delays.level_name(level),
            delays.hold_pattern(level),
            "quorum",
            {"x-message-ttl": delays.level_ttl_ms(level), "x-dead-letter-exchange": delays.next_exchange(level)},
        )
        for level in range(delays.LEVELS)
    ]


def exchange_names() -> list[str]:
    """Every exchange; all are durable topic exchanges."""
    return [INTAKE_EXCHANGE, DEAD_LETTER_EXCHANGE, delays.DELIVERY_EXCHANGE, *(level.exchange for level in levels())]


def _back_from_wait(name: str, kind: QueueKind = "quorum") -> Queue:
    """A queue to which messages come from the delay levels."""
    return Queue(name, delays.DELIVERY_EXCHANGE, delays.delivery_pattern(name), kind, INTAKE_ARGUMENTS)
