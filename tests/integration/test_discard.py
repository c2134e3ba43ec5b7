"""`stream dead-letters discard` and `import`: whatever happens, each letter is on the queue or in the file."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from stream.operations.dead_letters.backup import StoredLetters
from stream.operations.dead_letters.lock import locked
from stream.operations.redis_link import redis_link
from tests.integration.test_dead_letter_looks import asked, command, start
from tests.integration.test_queue_look import QUORUM_ON_NEWER, Content, connected, content
from tests.letters import lay, mixed
from tests.scene import Scene

REASON = ("--reason", "a test")


async def lying(stage: Scene) -> Content:
    async with connected(stage.url) as connection:
        return await content(connection)


@pytest.mark.parametrize("kind", QUORUM_ON_NEWER)
async def test_discarded_letters_come_back_as_they_were(stage: Scene, kind: str, tmp_path: Path) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    await lay(stage.url, mixed(1_000))
    before, backup = await lying(stage), str(tmp_path / "letters.gz")
    words = ("discard", "--type", "AUTH_ERROR", *REASON, "--backup", backup)
    assert await asked(stage, *words) == [{"wouldDiscard": 200}]
    assert await asked(stage, *words, "--yes") == [{"discarded": 200, "backup": backup}]
    rest = [each for each in before if each[1]["x-error-type"] != "AUTH_ERROR"]
    assert await lying(stage) == rest
    code, _, err = await command(stage, "dead-letters", *words, "--yes")
    assert (code, err) == (2, f"{backup} cannot be made: File exists\n")
    assert await asked(stage, "import", backup) == [{"imported": 200, "there": 0, "cut": False}]
    assert await asked(stage, "import", backup) == [{"imported": 0, "there": 200, "cut": False}]
    assert await lying(stage) == rest + [each for each in before if each[1]["x-error-type"] == "AUTH_ERROR"]


@pytest.mark.parametrize("kind", QUORUM_ON_NEWER)
async def test_a_discard_that_is_killed_loses_nothing(stage: Scene, kind: str, tmp_path: Path) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    await lay(stage.url, mixed(3_000))
    before, backups = await lying(stage), []
    for attempt in range(3):
        backups.append(tmp_path / f"{attempt}.gz")
        process = await start(stage, "dead-letters", "discard", *REASON, "--backup", str(backups[-1]), "--yes")
        async with asyncio.timeout(30):
            while process.returncode is None and not _begun(backups[-1]):  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.02 * attempt)
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.communicate()
        await asyncio.sleep(0.5)  # RabbitMQ puts back what the dead process held
        left = await lying(stage)
        kept = [each.copy.body for backup in backups if backup.exists() for each in StoredLetters(backup)]
        assert {body for body, _ in before} == {body for body, _ in left} | set(kept)
    for backup in filter(Path.exists, backups):
        await asked(stage, "import", str(backup))
    after = await lying(stage)
    assert len(after) == len(before)
    assert sorted(map(json.dumps, [headers for _, headers in after])) == sorted(
        map(json.dumps, [headers for _, headers in before])
    )


def _begun(backup: Path) -> bool:
    return backup.exists() and backup.stat().st_size > 0


async def test_a_file_that_is_no_backup_brings_nothing(stage: Scene, tmp_path: Path) -> None:
    await stage.declare()
    for number, junk in enumerate((b"", b"text", b"\x1f\x8b\x08")):
        path = tmp_path / str(number)
        path.write_bytes(junk)
        code, _, err = await command(stage, "dead-letters", "import", str(path))
        assert (code, err.count("\n")) in {(0, 0), (2, 1)}
    assert await lying(stage) == []


async def test_nothing_is_imported_while_somebody_works_on_the_letters(
    stage: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.declare()
    monkeypatch.setenv("REDIS_URL", stage.settings["REDIS_URL"])
    facts = {"who": "ann@host", "since": "12:00", "what": "replays, job 1"}
    async with redis_link() as link, locked(link.redis, facts, lambda _: None):
        code, _, err = await command(stage, "dead-letters", "import", str(tmp_path / "letters.gz"))
    assert (code, err) == (4, "ann@host works on the dead letters since 12:00: replays, job 1\n")
