"""The users for operators in `docs/security.md`: their rights are enough, and a missing one is named."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

from tests.integration.test_dead_letter_looks import asked, command
from tests.letters import lay, mixed
from tests.scene import Scene, management

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
LOOK, REPLAY = "whatsapp-stream-look", "whatsapp-stream-replay"
REASON = ("--reason", "a test")


def documented(user: str) -> list[str]:
    """Configure, write and read, as the page says."""
    text = PAGE.read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"^rabbitmqctl set_permissions -p /whatsapp {user} (.*)$", text, re.MULTILINE)
    return re.findall("'([^']*)'", line)


async def become(stage: Scene, user: str, rights: list[str]) -> None:
    """From now on, commands on the stage run as this user."""
    password, vhost = secrets.token_urlsafe(9), stage.url.rsplit("/", 1)[1]
    async with management(stage.world) as api:
        (await api.put(f"/api/users/{user}", json={"password": password, "tags": ""})).raise_for_status()
        body = dict(zip(("configure", "write", "read"), rights, strict=True))
        (await api.put(f"/api/permissions/{vhost}/{user}", json=body)).raise_for_status()
    address = urlsplit(stage.url)
    own = f"{quote(user)}:{password}@{address.hostname}:{address.port}"
    stage.url = urlunsplit(address._replace(netloc=own))


@pytest.fixture
async def filled(stage: Scene) -> AsyncIterator[Scene]:
    """Letters lie there, and a worker runs."""
    await stage.declare()
    await lay(stage.url, mixed(5))
    await stage.start_worker()
    yield stage
    async with management(stage.world) as api:
        for user in (LOOK, REPLAY):
            await api.delete(f"/api/users/{user}")


async def test_the_user_who_looks_can_look_and_no_more(filled: Scene) -> None:
    await become(filled, LOOK, documented(LOOK))
    assert len(await asked(filled, "groups")) == 5
    assert len(await asked(filled, "list")) == 5
    code, out, _ = await command(filled, "message", "id", "--tenant", "acme", "--json")
    queues = json.loads(out)
    assert (code, queues["intake"], queues["lanes"], queues["due"]) == (0, 0, {}, 0)
    assert queues["waiting"] in {0, None}  # since 4.2.6, RabbitMQ asks for a right that this user does not get
    code, _, err = await command(filled, "dead-letters", "replay", *REASON, "--yes")
    assert (code, err.splitlines()[0].split(";")[0]) == (
        3,
        f"the RabbitMQ user '{LOOK}' needs the right to write to the exchange whatsapp-exchange",
    )


async def test_the_user_who_replays_can_look_and_replay(filled: Scene, tmp_path: Path) -> None:
    await become(filled, REPLAY, documented(REPLAY))
    *_, done = await asked(filled, "replay", "--type", "AUTH_ERROR", *REASON, "--yes")
    assert done["delivered"] == 1
    backup = str(tmp_path / "letters.gz")
    assert (await asked(filled, "discard", *REASON, "--backup", backup, "--yes"))[0]["discarded"] == 4
    assert await asked(filled, "import", backup) == [{"imported": 4, "there": 0, "cut": False}]


async def test_a_user_who_may_not_read_is_told_so(filled: Scene) -> None:
    await become(filled, LOOK, ["^$", "^$", "^$"])
    code, _, err = await command(filled, "dead-letters", "groups")
    assert (code, err) == (3, f"the RabbitMQ user '{LOOK}' needs the right to read the queue outbound-failed\n")
