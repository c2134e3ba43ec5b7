"""Many dead letters: looked at, replayed and discarded, interrupted anywhere; none is lost, none is sent twice."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from aiormq.abc import DeliveredMessage
from redis.asyncio import Redis

from stream.broker import properties as wire
from stream.broker.look import look_at
from stream.broker.wire import ArrivedHeaders
from stream.contract.queues import DEAD_LETTER_QUEUE, INTAKE_PREFIX
from stream.operations.dead_letters.backup import StoredLetters
from stream.operations.dead_letters.job import INDEX
from stream.operations.dead_letters.lock import KEY
from tests.forwarder import Forwarder
from tests.integration.test_dead_letter_looks import asked, command, start
from tests.integration.test_queue_look import connected
from tests.letters import CAUSES, lay, letter_of, mixed
from tests.scene import Scene, number, unique

AUTH, PAYMENT, DOUBT, WRONG, OUTAGE = CAUSES
COUNTS = {AUTH: 6_000, PAYMENT: 6_000, DOUBT: 5_000, WRONG: 2_400, OUTAGE: 600}
REASON = ("--reason", "a test")
REFUSED = "99910131047"  # the simulator refuses such numbers with this code

NOBODY = b""
Lying = tuple[bytes, dict[str, bytes]]  # a body, and its properties and headers as they stand on the wire


async def test_twenty_thousand_letters_survive_a_look_and_a_replay_that_are_killed(stage: Scene) -> None:
    await stage.declare("quorum")
    recipients = [number() for _ in range(COUNTS[OUTAGE])]
    await lay(stage.url, shuffled(recipients))
    before = await lying(stage)
    await see_groups(stage)
    await kill_a_look(stage)
    await stage.start_worker(RABBITMQ_QUEUE_TYPE="quorum")
    adding = asyncio.create_task(add(stage, 50))
    await replay_and_kill(stage, recipients)
    await adding
    rest, left = (
        [each for each in before if OUTAGE.error_type.encode() not in each[1]["x-error-type"]],
        await lying(stage),
    )
    assert (left[: len(rest)], len(left)) == (rest, len(rest) + 50)
    assert stage.accepted_of(recipients) == [1] * len(recipients)


def shuffled(recipients: list[str]) -> list[tuple[bytes, dict[str, Any]]]:
    """The letters of all causes, in any order; those of the outage are for the recipients."""
    causes = [cause for cause in COUNTS if cause is not OUTAGE for _ in range(COUNTS[cause])]
    letters = [letter_of(cause, "16505550000", unique("id")) for cause in causes]
    letters += [letter_of(OUTAGE, to, unique("id")) for to in recipients]
    random.shuffle(letters)
    return letters


async def lying(stage: Scene) -> list[Lying]:
    """All that lies there, in its order, without RabbitMQ's own count of deliveries."""
    shown: list[Lying] = []

    def visit(message: DeliveredMessage) -> None:
        headers = message.header.properties.headers
        assert isinstance(headers, ArrivedHeaders)
        values = wire.split(headers.flags, headers.data)
        table = wire.split_table(values.pop("headers"))
        own = {name.decode(): value for name, value in table.items() if not name.endswith(b"-count")}
        shown.append((message.body, {**values, **own}))

    async with connected(stage.url) as connection, look_at(connection, DEAD_LETTER_QUEUE, visit) as look:
        assert await look.catch_up(look.goal)
    return shown


async def see_groups(stage: Scene) -> None:
    groups = await asked(stage, "groups")
    assert {(group["errorType"], group["code"], group["count"]) for group in groups} == {
        (cause.error_type, cause.code, count) for cause, count in COUNTS.items()
    }


async def kill_a_look(stage: Scene) -> None:
    process = await start(stage, "dead-letters", "list")
    await asyncio.sleep(random.uniform(0.5, 2))
    await kill(process)
    await stage.until_async(lambda: stage.outside.count(DEAD_LETTER_QUEUE), sum(COUNTS.values()), 60)


async def add(stage: Scene, count: int) -> None:
    """The worker adds letters."""
    for _ in range(count):
        await stage.publish(number(REFUSED))
        await asyncio.sleep(0.02)


async def replay_and_kill(stage: Scene, recipients: list[str]) -> None:
    """Replay the outage's letters; the job is killed at any instant, and goes on."""
    words = ("--type", OUTAGE.error_type, *REASON, "--rate", "1000", "--yes")
    process = await start(stage, "dead-letters", "replay", *words)
    some = random.randint(1, 400)
    await stage.until(lambda: sum(stage.accepted_of(recipients)) >= some, 90)
    await kill(process)
    await lock(stage, NOBODY)
    code, out, err = await command(stage, "jobs", "resume", await newest_job(stage), "--json")
    done = json.loads(out.splitlines()[-1])
    assert (code, err, done["left"], done["gone"], done["replayed"]) == (0, "", 0, 0, len(recipients)), some
    await stage.settled(60)


async def test_a_job_that_is_told_to_stop_or_loses_its_lock_or_rabbitmq_goes_on_later(stage: Scene) -> None:
    await stage.declare()
    recipients = [number() for _ in range(100)]
    await lay(stage.url, [letter_of(AUTH, to, unique("id")) for to in recipients])
    await stage.start_worker()
    process = await start(stage, "dead-letters", "replay", *REASON, "--yes", "--rate", "10", "--json")
    await stage.until(lambda: sum(stage.accepted_of(recipients)) > 5, 60)
    job = await newest_job(stage)
    code, _, _ = await command(stage, "jobs", "stop", job)
    done = await ended(process)
    assert (code, done["stoppedBecause"].endswith("asked for it"), done["left"] > 0) == (0, True, True)
    process = await start(stage, "jobs", "resume", job, "--json")
    already = sum(stage.accepted_of(recipients))
    await stage.until(lambda: sum(stage.accepted_of(recipients)) > already + 3, 60)
    await lock(stage, b"another holder")
    assert (await ended(process))["stoppedBecause"] == "the lock was lost"
    await lock(stage, NOBODY)
    await lose_rabbitmq(stage, job)
    code, out, err = await command(stage, "jobs", "resume", job, "--json")
    done = json.loads(out.splitlines()[-1])
    assert (code, err, done["left"], done["replayed"]) == (0, "", 0, len(recipients))
    await stage.settled(60)
    assert stage.accepted_of(recipients) == [1] * len(recipients)
    assert await lying(stage) == []


async def lose_rabbitmq(stage: Scene, job: str) -> None:
    """The connection is cut in the middle of a publish: one sentence, and the last line all the same."""
    async with Forwarder(urlsplit(stage.url).port or 0) as forwarder:
        forwarder.cut_before(INTAKE_PREFIX.encode(), 1)
        url = urlsplit(stage.url)
        stage.url = urlunsplit(url._replace(netloc=url.netloc.replace(f":{url.port}", f":{forwarder.port}")))
        code, out, err = await command(stage, "jobs", "resume", job, "--json")
        stage.url = urlunsplit(url)
    done = json.loads(out.splitlines()[-1])
    assert (code, done["left"] > 0, err.count("\n")) == (3, True, 1), err
    assert done["stoppedBecause"].startswith("RabbitMQ cannot be reached")


async def ended(process: Process) -> dict[str, Any]:
    """The last line of a job that has stopped by itself, soon."""
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1, err
    return dict(json.loads(out.splitlines()[-1]))


async def kill(process: Process) -> None:
    process.kill()
    await process.communicate()


@pytest.mark.any_servers
async def test_commands_that_are_stopped_or_killed_give_back_or_keep_every_letter(stage: Scene, tmp_path: Path) -> None:
    await stage.declare()
    await lay(stage.url, mixed(5_000))
    before = await lying(stage)
    await end_by_a_signal(stage, "groups", "--json")
    await end_by_a_signal(stage, "replay", *REASON)
    assert await lying(stage) == before
    first, second = tmp_path / "first.gz", tmp_path / "second.gz"
    stopped = json.loads(await stop_a_discard(stage, first))["discarded"]
    assert len(list(StoredLetters(first))) == stopped
    await kill(await discarding(stage, second))
    await lock(stage, NOBODY)
    kept = [each.copy.body for path in (first, second) for each in StoredLetters(path)]
    assert {body for body, _ in await lying(stage)} | set(kept) == {body for body, _ in before}
    await stop_an_import(stage, first)
    for path in (first, second):
        await asked(stage, "import", str(path))
    assert sorted(map(repr, await lying(stage))) == sorted(map(repr, before))


async def end_by_a_signal(stage: Scene, *words: str) -> None:
    """A look that has begun ends with exit code 1, and what it held lies there again."""
    lay = await stage.outside.count(DEAD_LETTER_QUEUE)
    process = await start(stage, "dead-letters", *words)
    await stage.until_async(lambda: stage.outside.count(DEAD_LETTER_QUEUE), 0, 60)
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (1, b"", b"stopped by SIGTERM\n")
    assert await stage.outside.count(DEAD_LETTER_QUEUE) == lay


async def discarding(stage: Scene, backup: Path) -> Process:
    """A discard that is somewhere in its middle."""
    words = ("discard", *REASON, "--yes", "--json", "--backup", str(backup))
    process, some = await start(stage, "dead-letters", *words), random.randint(1, 60_000)
    await stage.until(lambda: process.returncode is not None or _size(backup) >= some, 60)
    return process


async def stop_a_discard(stage: Scene, backup: Path) -> bytes:
    process = await discarding(stage, backup)
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert (process.returncode, err) == (1, b"stopped by SIGTERM\n")
    return out


async def stop_an_import(stage: Scene, backup: Path) -> None:
    lay = await stage.outside.count(DEAD_LETTER_QUEUE)
    process = await start(stage, "dead-letters", "import", str(backup), "--json")
    await stage.until_async(lambda: has_more(stage, lay + 20), 1, 60)
    process.send_signal(signal.SIGTERM)
    assert (await ended(process))["imported"] > 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def has_more(stage: Scene, than: int) -> int:
    return int(await stage.outside.count(DEAD_LETTER_QUEUE) > than)


async def newest_job(stage: Scene) -> str:
    async with Redis.from_url(stage.settings["REDIS_URL"]) as redis:
        names: Any = await redis.zrevrange(INDEX, 0, 0)
        return str(names[0].decode())


async def lock(stage: Scene, holder: bytes) -> None:
    """Give the lock to another holder, or take it from one that has died: its lease would last ten seconds."""
    async with Redis.from_url(stage.settings["REDIS_URL"]) as redis:
        await redis.set(KEY, holder, px=60_000 if holder else 1)
