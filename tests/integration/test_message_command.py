"""`stream message` tells what dead letters and the ledger know of one message, and how many lie on the queues."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream.contract.delays import route
from stream.contract.queues import INTAKE_QUEUE
from tests.integration.test_dead_letter_looks import command
from tests.integration.test_queue_look import connected
from tests.letters import CAUSES, lay, letter_of, mixed
from tests.scene import Scene, number, unique


async def test_a_message_is_found_in_the_letters_and_in_the_ledger(stage: Scene, tmp_path: Path) -> None:
    await stage.declare()
    to, internal_id = number(), unique("id")
    body, headers = letter_of(CAUSES[0], to, internal_id)
    await lay(stage.url, [*mixed(3), (body, headers)])
    code, out, _ = await command(stage, "message", internal_id, "--tenant", "acme", "--json")
    found, _ = map(json.loads, out.splitlines())
    assert (code, found["ledger"], found["wamid"]) == (0, "not known as sent", None)
    assert (found["letter"]["internalId"], found["letter"]["errorType"]) == (internal_id, "AUTH_ERROR")
    await stage.start_worker()
    await stage.outside.publish(body, "acme")
    wamid = (await stage.accepted(to)).wamid
    await stage.settled()
    file = tmp_path / "message.json"
    file.write_bytes(body)
    code, out, _ = await command(stage, "message", internal_id, "--tenant", "acme", "--body", str(file), "--json")
    assert [(json.loads(line)["place"], json.loads(line).get("wamid")) for line in out.splitlines()] == [
        ("dead letters", wamid),
        ("ledger", wamid),
        ("queues", None),
    ]
    code, out, err = await command(stage, "message", "unheard-of", "--tenant", "acme")
    assert out == "queues: intake 0, waiting 0, due 0\n  the message lies on none of these; a worker may hold it\n"
    assert (code, err.startswith("no dead letter of it lies there")) == (0, True)


@pytest.mark.parametrize(
    ("intake", "lane"), [(INTAKE_QUEUE, "whatsapp-lane-7"), ("outbound-a", "whatsapp-lane-outbound-a-7")]
)
async def test_a_message_that_waits_somewhere_is_one_of_those_on_the_queues(
    stage: Scene, intake: str, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTAKE_QUEUE", intake)
    await stage.declare(intake=intake)
    async with connected(stage.url) as connection:
        channel = await connection.channel()
        for exchange, key in (("", intake), ("", intake), ("", lane), route(600, intake)):
            await channel.basic_publish(b"{}", exchange=exchange, routing_key=key)
    code, out, _ = await command(stage, "message", "id", "--tenant", "acme", "--json")
    assert (code, [json.loads(line) for line in out.splitlines()]) == (
        0,
        [{"place": "queues", "intake": 2, "lanes": {lane: 1}, "waiting": 1, "due": 0}],
    )
    _, out, _ = await command(stage, "message", "id", "--tenant", "acme")
    assert out.splitlines()[0] == f"queues: intake 2, {lane} 1, waiting 1, due 0"
