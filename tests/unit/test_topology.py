from __future__ import annotations

from collections import Counter

import pytest

from stream.broker.mismatch import explain_mismatch
from stream.broker.topology import DEAD_LETTERS, INTAKE, Topology, exchange_names
from stream.contract import delays
from stream.contract.lanes import lane_names
from stream.contract.queues import INTAKE_ARGUMENTS, INTAKE_QUEUE

TTL = (
    "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'outbound-processed' in vhost '/whatsapp': "
    "received the value '86400000' of type 'signedint' but current is none"
)
DURABLE = (
    "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'outbound-failed' in vhost '/whatsapp': "
    "received 'true' but current is 'false'"
)
EXCHANGE_TYPE = (
    "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'whatsapp-dlx' in vhost '/whatsapp': "
    "received 'topic' but current is 'direct'"
)
QUEUE_TYPE = (
    "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'outbound-processed' in vhost '/whatsapp': "
    "received the value 'quorum' of type 'longstr' but current is the value 'classic' of type 'longstr'"
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (TTL, ("queue 'outbound-processed'", "x-message-ttl = none", "the value '86400000' of type 'signedint'")),
        (DURABLE, ("queue 'outbound-failed'", "durable = 'false'", "needs 'true'")),
        (EXCHANGE_TYPE, ("exchange 'whatsapp-dlx'", "type = 'direct'", "needs 'topic'")),
        (QUEUE_TYPE, ("the value 'classic'", "the value 'quorum'", "RABBITMQ_QUEUE_TYPE")),
    ],
    ids=["ttl", "durable", "exchange-type", "queue-type"],
)
def test_a_mismatch_is_explained_in_one_sentence(text: str, parts: tuple[str, ...]) -> None:
    explained = explain_mismatch(text)
    assert all(part in explained for part in parts)
    assert "PRECONDITION_FAILED" not in explained
    assert "\n" not in explained


def test_a_mismatch_of_another_wording_is_handed_on() -> None:
    text = "PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'outbound-processed'"
    assert text in explain_mismatch(text)


def test_every_exchange_is_declared_once() -> None:
    names = exchange_names()
    assert len(names) == len(set(names)) == 3 + delays.LEVELS
    assert {"whatsapp-exchange", "whatsapp-dlx", delays.DELIVERY_EXCHANGE} < set(names)


def test_the_classic_intake_queue_asks_for_nothing_but_the_agreed_arguments() -> None:
    queue = Topology().intake.subscribed()
    assert (queue.name, queue.durable, queue.routing_key) == ("outbound-processed", True, "outbound.processed.#")
    # FastStream adds the type that RabbitMQ takes as the default.
    assert dict(queue.arguments or {}) == {
        "x-dead-letter-exchange": "whatsapp-dlx",
        "x-dead-letter-routing-key": "outbound.failed",
        "x-message-ttl": 86_400_000,
        "x-queue-type": "classic",
    }


def test_a_quorum_intake_queue_has_no_delivery_limit_where_the_broker_knows_none() -> None:
    intake = Topology("quorum").intake
    assert "x-delivery-limit" not in (intake.subscribed().arguments or {})
    assert dict(intake.subscribed(unlimited=True).arguments or {})["x-delivery-limit"] == -1


def test_a_quorum_intake_queue_dead_letters_at_least_once() -> None:
    arguments = dict(Topology("quorum").intake.subscribed().arguments or {})
    assert INTAKE_ARGUMENTS.items() <= arguments.items()
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"


def test_what_is_due_is_kept_dead_lettered_and_reached_like_the_intake() -> None:
    due, intake = Topology().due.subscribed(), Topology("quorum").intake.subscribed()
    assert (due.name, due.durable, due.routing_key) == ("whatsapp-due", True, "#.whatsapp-due")
    assert due.arguments == intake.arguments


def test_the_intake_of_a_shard_is_reached_from_its_waits_and_is_left_to_its_operator_else() -> None:
    shard = Topology(intake_name="outbound-a")
    intake = shard.intake.subscribed()
    assert (intake.name, intake.routing_key) == ("outbound-a", "#.outbound-a")
    assert shard.intake_exchange.name == shard.intake.exchange == delays.DELIVERY_EXCHANGE
    assert intake.arguments == Topology().intake.subscribed().arguments


def test_two_shards_share_no_queue_but_the_dead_letters() -> None:
    intakes = (INTAKE_QUEUE, "3", "a", "a-1", "a-due", "lane-a")
    queues = Counter(
        queue.name for intake in intakes for queue in Topology(intake_name=intake).given_back(lane_names(64, intake))
    )
    assert queues.pop("outbound-failed") == len(intakes)
    assert set(queues.values()) == {1}
    assert len(queues) == len(intakes) * (1 + 1 + 64)


def test_the_shared_exchanges_are_durable() -> None:
    assert INTAKE.durable
    assert DEAD_LETTERS.durable
