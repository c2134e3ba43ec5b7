"""Faults in the worker itself, and messages made to hurt it: bounded, told, and the rest flows."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from sandbox.worker import WorkerProcess
from stream.contract.queues import QueueKind
from tests.scene import Scene, management, number, text_message, unique

HERE = Path(__file__).parent
FAULTS = os.pathsep.join([str(HERE / "faults"), str(HERE.parent.parent)])  # the faults are for this checkout's code


def saying(body: str, to: str) -> dict[str, Any]:
    return {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": body}}


@pytest.mark.any_servers
async def test_a_handler_that_raises_is_tried_a_bounded_number_of_times(stage: Scene) -> None:
    await stage.start_worker(PYTHONPATH=FAULTS, META_API_MAX_RETRIES="1", RABBITMQ_PREFETCH="1")
    await stage.watch()
    to, healthy = number(), number()
    internal_id = await stage.publish(to, payload=saying("poison", to))
    await stage.publish(healthy)
    await stage.accepted(healthy)
    letter = await stage.letter(internal_id)
    assert letter.headers["x-error-type"] == "INTERNAL_ERROR"
    assert letter.headers["x-attempts"] == 2
    assert "nobody foresaw this" in str(letter.headers["x-error-detail"])


@pytest.mark.any_servers
async def test_a_handler_that_never_returns_is_reported_and_ended(stage: Scene) -> None:
    worker = await stage.start_worker(
        PYTHONPATH=FAULTS, META_API_TIMEOUT_MS="100", META_API_MAX_RETRIES="0", ON_UNKNOWN_OUTCOME="dead-letter"
    )
    await stage.watch()
    to, healthy = number(), number()
    internal_id = await stage.publish(to, payload=saying("stuck", to))
    await stage.publish(healthy)
    await stage.accepted(healthy)
    line = await stage.logged(worker, "stuck", internalId=internal_id)
    assert line["seconds"] > 1
    letter = await stage.letter(internal_id, seconds=20)
    assert letter.headers["x-error-type"] == "OUTCOME_UNKNOWN"


@pytest.mark.any_servers
async def test_a_send_that_outlasts_the_grace_is_cut_off_counted_and_in_doubt_afterwards(stage: Scene) -> None:
    settings = {"META_API_TIMEOUT_MS": "500", "SHUTDOWN_GRACE_MS": "600", "ON_UNKNOWN_OUTCOME": "dead-letter"}
    worker = await stage.start_worker(**settings, PYTHONPATH=FAULTS)  # type: ignore[arg-type]
    await stage.watch()
    to = number()
    internal_id = await stage.publish(to, payload=saying("stuck", to))
    async with asyncio.timeout(10):
        while (await stage.metrics(worker))["messages_in_flight"] != 1:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)
    assert await stage.stop_worker(worker) == 1
    line = await stage.logged(worker, "stopped")
    assert (line["finished"], line["unknown"]) == (0, 1)
    assert "1 tries were cut off" in worker.tail(1)
    await stage.start_worker(**settings)  # type: ignore[arg-type]
    letter = await stage.letter(internal_id, seconds=15)  # once the lease has ended
    assert letter.headers["x-error-type"] == "OUTCOME_UNKNOWN"


@pytest.mark.parametrize("kind", [pytest.param("classic", marks=pytest.mark.any_servers), "quorum"])
async def test_a_body_that_kills_replica_after_replica_is_dead_lettered_and_its_neighbours_are_sent_once(
    stage: Scene, kind: QueueKind
) -> None:
    await stage.declare(kind)
    await stage.watch()
    to, neighbours, internal_id = number(), [number() for _ in range(9)], unique("deadly")
    deadly = orjson.dumps(text_message(to, "acme", internal_id, body="deadly"))
    for neighbour in neighbours[:4]:
        await stage.publish(neighbour)
    await stage.outside.publish(deadly, "acme")
    for neighbour in neighbours[4:]:
        await stage.publish(neighbour)

    def over(worker: WorkerProcess) -> bool:
        return bool(stage.letters_of(internal_id)) or worker.process.poll() is not None

    replicas: list[WorkerProcess] = []
    while not stage.letters_of(internal_id):
        assert len(replicas) < 6, "the fifth death was not the last"
        settings = {"META_API_TIMEOUT_MS": "500", "RABBITMQ_QUEUE_TYPE": kind, "PYTHONPATH": FAULTS}
        replicas.append(await stage.start_worker(wait=False, **settings))
        await stage.until(partial(over, replicas[-1]), seconds=40)
    assert [replica.process.poll() for replica in replicas] == [*[-signal.SIGKILL] * 5, None]
    (letter,) = stage.letters_of(internal_id)
    assert (letter.headers["x-error-type"], letter.body) == ("POISON", deadly)
    await stage.all_accepted(neighbours)
    await stage.settled()
    assert stage.accepted_of([to, *neighbours]) == [0, *[1] * 9]
    assert len(stage.letters) == 1


ODD_PROPERTIES: tuple[dict[str, Any], ...] = (
    {"timestamp": 253_402_300_800},
    {"timestamp": 1_700_000_000_000},
    {"timestamp": 2**63 - 1},
    {"priority": 255},
    {"headers": {"x-attempt": "many", "x-retries": [1], "x-first-seen": 5}},
    {"headers": {"x-attempt": -1, "x-retries": {"META_SERVER_ERROR": -9}}},
    {"headers": {"BCC": ["outbound.failed"], "CC": ["outbound.processed.x"]}},
    {"expiration": "600000"},
    {"reply_to": "amq.rabbitmq.reply-to.nobody"},
)
ENDS = {"sent": "1650556", "retried": "99931500", "dead-lettered": "99910131047"}


async def test_no_property_that_a_publisher_can_set_stops_the_worker(stage: Scene) -> None:
    await stage.start_worker(RABBITMQ_PREFETCH="1", CIRCUIT_FAILURES="0")
    await stage.watch()
    published: dict[str, tuple[str, str]] = {}  # what it is, by internal id, and its recipient
    for properties, (end, prefix) in itertools.product(ODD_PROPERTIES, ENDS.items()):
        to, internal_id = number(prefix), unique("odd")
        published[internal_id] = (f"{end}: {properties}", to)
        await _publish_odd(stage, text_message(to, "acme", internal_id), properties)
        after = number()
        await stage.publish(after)
        await stage.accepted(after)

    def unfinished() -> list[str]:
        ids = published.items()
        return [what for each, (what, to) in ids if not (stage.taken(to) or stage.letters_of(each))]

    with suppress(AssertionError):
        await stage.until(lambda: not unfinished(), 20)
    assert unfinished() == []
    await stage.settled()


async def _publish_odd(stage: Scene, message: dict[str, Any], properties: dict[str, Any]) -> None:
    """Through the management API, which checks less than a client does."""
    vhost = stage.url.rsplit("/", 1)[1]
    body = {
        "properties": properties,
        "routing_key": "outbound.processed.acme",
        "payload": orjson.dumps(message).decode(),
        "payload_encoding": "string",
    }
    async with management(stage.world) as api:
        answer = await api.post(f"/api/exchanges/{vhost}/whatsapp-exchange/publish", json=body)
    assert answer.json() == {"routed": True}
