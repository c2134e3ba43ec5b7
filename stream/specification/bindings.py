"""Exchanges, queues, arguments and bindings, read off the application's own subscribers and publishers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from faststream.rabbit import RabbitExchange, RabbitQueue

from stream.specification.servers import vhost_of

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wiring:
    """The queue and exchange behind each title.

    Attributes:
        ends: Title → queue and exchange.
    """

    ends: dict[str, tuple[RabbitQueue, RabbitExchange]]

    @classmethod
    def of(cls, brokers: Iterable[Any]) -> Wiring:
        """Read the brokers' subscribers and publishers."""
        ends = {}
        for broker in brokers:
            for end in (*broker.subscribers, *broker.publishers):
                config = end.specification.config
                if end.specification.include_in_schema:
                    ends[config.title_] = (config.queue, config.exchange)
        return cls(ends)

    def channel(self, title: str, drawn: Node) -> Node:
        """A channel's binding, with the queue's arguments and what the queue is bound to."""
        queue, exchange = self.ends[title]
        kind = "queue" if drawn["is"] == "queue" else "exchange"
        vhost = vhost_of(drawn[kind]["vhost"])
        if kind == "queue":
            of_queue = {**drawn["queue"], "vhost": vhost, "arguments": dict(queue.arguments)}
            return {
                **drawn,
                "queue": of_queue,
                "x-exchange": _exchange(exchange, vhost),
                "x-bindings": [_bound(queue, exchange)],
            }
        binding = {**drawn, "exchange": {**drawn["exchange"], "vhost": vhost}}
        if not queue.name:
            return binding
        of_queue = {"name": queue.name, "durable": queue.durable, "vhost": vhost, "arguments": self._arguments(queue)}
        return {**binding, "x-queue": of_queue, "x-bindings": [_bound(queue, exchange)]}

    def _arguments(self, queue: RabbitQueue) -> Node:
        """A publisher's queue is only named; every queue is declared with the type of the one that is consumed."""
        consumed = next(other for other, _ in self.ends.values() if "x-dead-letter-exchange" in other.arguments)
        return {**queue.arguments, "x-queue-type": consumed.arguments["x-queue-type"]}


def _exchange(exchange: RabbitExchange, vhost: str) -> Node:
    return {"name": exchange.name, "type": exchange.type.value, "durable": exchange.durable, "vhost": vhost}


def _bound(queue: RabbitQueue, exchange: RabbitExchange) -> Node:
    return {"exchange": exchange.name, "queue": queue.name, "routingKey": queue.routing_template()}
