from __future__ import annotations

import pytest

from stream.broker import topology
from stream.contract import delays
from stream.contract.queues import INTAKE_ARGUMENTS

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
    explained = topology.explain_mismatch(text)
    assert all(part in explained for part in parts)
    assert "PRECONDITION_FAILED" not in explained
    assert "\n" not in explained


def test_a_mismatch_of_another_wording_is_handed_on() -> None:
    text = "PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'outbound-processed'"
    assert text in topology.explain_mismatch(text)


def test_every_exchange_is_declared_once() -> None:
    names = topology.exchange_names()
    assert len(names) == len(set(names)) == 3 + delays.LEVELS
    assert {"whatsapp-exchange", "whatsapp-dlx", delays.DELIVERY_EXCHANGE} < set(names)


def test_the_classic_intake_queue_asks_for_nothing_but_the_agreed_arguments() -> None:
    queue = topology.intake_queue("classic")
    assert (queue.name, queue.durable, queue.routing_key) == ("outbound-processed", True, "outbound.processed.#")
    # FastStream adds the type that RabbitMQ takes as the default.
    assert dict(queue.arguments or {}) == {
        "x-dead-letter-exchange": "whatsapp-dlx",
        "x-dead-letter-routing-key": "outbound.failed",
        "x-message-ttl": 86_400_000,
        "x-queue-type": "classic",
    }


def test_a_quorum_intake_queue_has_no_delivery_limit_where_the_broker_knows_none() -> None:
    assert "x-delivery-limit" not in (topology.intake_queue("quorum").arguments or {})
    assert dict(topology.intake_queue("quorum", unlimited=True).arguments or {})["x-delivery-limit"] == -1
    assert "x-delivery-limit" not in (topology.intake_queue("classic", unlimited=True).arguments or {})


def test_a_quorum_intake_queue_dead_letters_at_least_once() -> None:
    arguments = dict(topology.intake_queue("quorum").arguments or {})
    assert INTAKE_ARGUMENTS.items() <= arguments.items()
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"


def test_what_is_due_is_kept_dead_lettered_and_reached_like_the_intake() -> None:
    due, intake = topology.due_queue(), topology.intake_queue("quorum")
    assert (due.name, due.durable, due.routing_key) == ("whatsapp-due", True, "#.whatsapp-due")
    assert due.arguments == intake.arguments


def test_the_shared_exchanges_are_durable() -> None:
    assert topology.INTAKE.durable
    assert topology.DEAD_LETTERS.durable
