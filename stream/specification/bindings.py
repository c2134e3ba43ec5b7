"""Exchanges, queues, arguments and bindings, read off the application's own subscribers and publishers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from faststream.rabbit import RabbitExchange, RabbitQueue

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

    def server(self, drawn: Node) -> Node:
        """The server without the address that this process happens to use, which is nobody else's."""
        vhost = _vhost(drawn["pathname"])
        return {
            "host": "{host}:{port}",
            "pathname": "/" + quote(vhost, safe=""),
            "protocol": drawn["protocol"],
            "protocolVersion": drawn["protocolVersion"],
            "title": "RabbitMQ",
            "description": f"The vhost is `{vhost}`: in a URL its slash is written `%2F`, so "
            f"`amqp://user:password@host:5672/{quote(vhost, safe='')}`. All exchanges and queues are durable.",
            "variables": {
                "host": {"default": "localhost", "description": "RABBITMQ_URL of the deployment."},
                "port": {"default": "5672", "description": "5671 with TLS (amqps)."},
            },
        }

    def channel(self, title: str, drawn: Node) -> Node:
        """A channel's binding, with the queue's arguments and what the queue is bound to."""
        queue, exchange = self.ends[title]
        kind = "queue" if drawn["is"] == "queue" else "exchange"
        vhost = _vhost(drawn[kind]["vhost"])
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


def _vhost(path: str) -> str:
    """The vhost in a URL's path, or in FastStream's binding: without the slash that only divides it from the host."""
    return path.removeprefix("/") or "/"


def _exchange(exchange: RabbitExchange, vhost: str) -> Node:
    return {"name": exchange.name, "type": exchange.type.value, "durable": exchange.durable, "vhost": vhost}


def _bound(queue: RabbitQueue, exchange: RabbitExchange) -> Node:
    return {"exchange": exchange.name, "queue": queue.name, "routingKey": queue.routing_template()}
