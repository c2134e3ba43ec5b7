"""The demo and the tour leave a RabbitMQ alone that somebody uses."""

from __future__ import annotations

import asyncio

import pytest

from sandbox.processes import free_ports
from sandbox.unused import QUEUES, check_unused, refuse_used
from sandbox.world import WorldError
from stream.broker.topology import Topology, levels
from stream.contract.lanes import MOST_LANES, lane_names


@pytest.mark.parametrize(("messages", "consumers"), [(3, 0), (0, 1)])
def test_a_queue_with_messages_or_consumers_is_refused_with_its_name_and_the_fix(messages: int, consumers: int) -> None:
    with pytest.raises(WorldError, match=r"outbound-failed has \d .*Unset RABBITMQ_URL and REDIS_URL, or name a vhost"):
        refuse_used("outbound-failed", messages, consumers)


def test_an_empty_queue_of_an_earlier_demo_is_not_refused() -> None:
    refuse_used("outbound-failed", messages=0, consumers=0)


def test_every_queue_that_a_worker_declares_is_looked_at() -> None:
    given_back = Topology().given_back(lane_names(MOST_LANES))
    assert {queue.name for queue in [*given_back, *levels()]} < set(QUEUES)


def test_a_rabbitmq_that_does_not_answer_is_one_sentence() -> None:
    (port,) = free_ports(1)
    with pytest.raises(WorldError, match="RABBITMQ_URL: RabbitMQ cannot be asked"):
        asyncio.run(check_unused(f"amqp://guest:guest@127.0.0.1:{port}/"))
