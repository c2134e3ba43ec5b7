"""`stream message` tells what dead letters and the ledger know of one message."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.test_dead_letter_looks import command
from tests.letters import CAUSES, lay, letter_of, mixed
from tests.scene import Scene, number, unique


async def test_a_message_is_found_in_the_letters_and_in_the_ledger(stage: Scene, tmp_path: Path) -> None:
    await stage.declare()
    to, internal_id = number(), unique("id")
    body, headers = letter_of(CAUSES[0], to, internal_id)
    await lay(stage.url, [*mixed(3), (body, headers)])
    code, out, _ = await command(stage, "message", internal_id, "--tenant", "acme", "--json")
    (found,) = map(json.loads, out.splitlines())
    assert (code, found["ledger"], found["wamid"]) == (0, "not known as sent", None)
    assert (found["letter"]["internalId"], found["letter"]["errorType"]) == (internal_id, "AUTH_ERROR")
    await stage.start_worker()
    await stage.outside.publish(body, "acme")
    wamid = (await stage.accepted(to)).wamid
    await stage.settled()
    file = tmp_path / "message.json"
    file.write_bytes(body)
    code, out, _ = await command(stage, "message", internal_id, "--tenant", "acme", "--body", str(file), "--json")
    assert [(json.loads(line)["place"], json.loads(line)["wamid"]) for line in out.splitlines()] == [
        ("dead letters", wamid),
        ("ledger", wamid),
    ]
    code, out, err = await command(stage, "message", "unheard-of", "--tenant", "acme")
    assert (code, out, err.startswith("no dead letter of it lies there")) == (0, "", True)
