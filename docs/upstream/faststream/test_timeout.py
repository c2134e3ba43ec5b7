"""The timeout of a publish reaches the exchange, whether the call or its publisher has it."""

from __future__ import annotations

import asyncio
from typing import Any

from faststream.rabbit import RabbitBroker
from faststream.rabbit.publisher.producer import AioPikaFastProducerImpl
from faststream.rabbit.response import RabbitPublishCommand
from faststream.response.publish_type import PublishType


class Exchange:
    """It keeps what was published with."""

    async def publish(self, **options: Any) -> None:
        self.timeout = options["timeout"]


class Declarer:
    """It knows one exchange."""

    def __init__(self) -> None:
        self.exchange = Exchange()

    async def declare_exchange(self, **_: object) -> Exchange:
        return self.exchange


def test_the_timeout_of_a_call_reaches_the_exchange() -> None:
    declarer = Declarer()
    producer = AioPikaFastProducerImpl(declarer=declarer, parser=None, decoder=None)
    asyncio.run(producer.publish(RabbitPublishCommand(b"", timeout=1.5, _publish_type=PublishType.PUBLISH)))
    assert declarer.exchange.timeout == 1.5


def test_the_timeout_of_a_publisher_is_its_calls_unless_they_have_one(monkeypatch) -> None:
    publisher = RabbitBroker().publisher("queue", timeout=1.5)
    commands: list[RabbitPublishCommand] = []

    async def keep(command: RabbitPublishCommand, **_: object) -> None:
        commands.append(command)

    monkeypatch.setattr(publisher, "_basic_publish", keep)
    asyncio.run(publisher.publish(b""))
    asyncio.run(publisher.publish(b"", timeout=3))
    assert [command.timeout for command in commands] == [1.5, 3]
