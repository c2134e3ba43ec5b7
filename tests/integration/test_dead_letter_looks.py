"""`stream dead-letters groups`, `list`, `show` and `export`, as an operator runs them, on real servers."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import sys
from typing import Any

import pytest

from sandbox.worker import ROOT
from tests.integration.test_queue_look import KINDS, QUORUM_ON_NEWER, connected, content
from tests.letters import CAUSES, lay, mixed
from tests.scene import Scene, number


async def command(stage: Scene, *words: str) -> tuple[int, str, str]:
    """Run `stream …`; returns exit code, stdout and stderr."""
    process = await start(stage, *words)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def start(stage: Scene, *words: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "RABBITMQ_URL": stage.url, "REDIS_URL": stage.settings["REDIS_URL"]}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stream.operations.cli",
        *words,
        env=environment,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def asked(stage: Scene, *words: str) -> list[dict[str, Any]]:
    """Run a command that must succeed; returns its JSON lines."""
    code, out, err = await command(stage, "dead-letters", *words, "--json")
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("kind", QUORUM_ON_NEWER)
async def test_twenty_thousand_letters_of_five_causes_are_five_groups(stage: Scene, kind: str) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    await lay(stage.url, mixed(20_000))
    groups = await asked(stage, "groups")
    assert {(group["errorType"], group["code"], group["count"]) for group in groups} == {
        (cause.error_type, cause.code, 4_000) for cause in CAUSES
    }
    assert {group["errorType"]: group["replay"] for group in groups} == {
        "AUTH_ERROR": "safe",
        "PAYMENT_ISSUE": "safe",
        "OUTCOME_UNKNOWN": "in-doubt",
        "INVALID_REQUEST": "fix-first",
        "META_SERVER_ERROR": "safe",
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_a_look_that_is_killed_loses_and_reorders_nothing(stage: Scene, kind: str) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    await lay(stage.url, mixed(5_000))
    async with connected(stage.url) as connection:
        before = await content(connection)
    for delay_s in (0.5, 0.8, 1.1):  # it starts, connects, reads
        process = await start(stage, "dead-letters", "list", "--json")
        await asyncio.sleep(delay_s)
        process.kill()
        await process.communicate()
    async with connected(stage.url) as connection:
        await stage.until_async(lambda: stage.outside.count("outbound-failed"), 5_000)
        assert await content(connection) == before


async def test_list_and_export_show_what_the_filter_takes(stage: Scene) -> None:
    await stage.declare()
    await lay(stage.url, mixed(10))
    listed = await asked(stage, "list", "--type", "AUTH_ERROR", "--tenant", "acme")
    assert [(each["errorType"], each["attempts"], each["replay"]) for each in listed] == [("AUTH_ERROR", 1, "safe")] * 2
    assert await asked(stage, "export", "--type", "AUTH_ERROR") == listed
    code, out, _ = await command(stage, "dead-letters", "export", "--format", "csv", "--replay-class", "in-doubt")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (code, {row["errorType"] for row in rows}, len(rows)) == (0, {"OUTCOME_UNKNOWN"}, 2)
    code, out, _ = await command(stage, "dead-letters", "list", "--newer-than", "1h")
    assert (code, len(out.splitlines())) == (0, 10)


async def test_show_tells_the_whole_story_and_masks_the_recipient_unless_asked(stage: Scene) -> None:
    await stage.declare()
    await stage.start_worker()
    to = number("99910131047")
    await stage.publish(to)
    await stage.until_async(lambda: stage.outside.count("outbound-failed"), 1)
    (listed,) = await asked(stage, "list")
    (shown,) = await asked(stage, "show", listed["id"])
    assert shown.items() >= listed.items()
    assert (shown["errorType"], shown["code"], shown["replay"]) == ("WINDOW_EXPIRED", 131047, "fix-first")
    assert shown["headers"]["x-fingerprint"] == shown["fingerprint"]
    assert shown["fbtraceId"]
    assert "$ACCESS_TOKEN" in shown["curl"]
    assert to not in json.dumps(shown)
    (revealed,) = await asked(stage, "show", listed["id"], "--reveal")
    assert revealed["payload"]["to"] == to
    code, _, err = await command(stage, "dead-letters", "show", "0000")
    assert (code, err) == (2, "no letter 0000 lies there\n")


async def test_a_rabbitmq_that_is_away_and_a_queue_that_is_not_there_are_one_sentence(stage: Scene) -> None:
    code, _, err = await command(stage, "dead-letters", "groups")
    assert (code, err.count("\n")) == (3, 1)
    assert err.startswith("RabbitMQ has no outbound-failed on this vhost")
    stage.url = "amqp://guest:secret@127.0.0.1:1/"
    code, _, err = await command(stage, "dead-letters", "groups")
    assert (code, err.count("\n")) == (3, 1)
    assert err.startswith("RabbitMQ cannot be reached")
    assert "secret" not in err


async def test_two_looks_at_once_are_told_apart(stage: Scene) -> None:
    await stage.declare()
    await lay(stage.url, mixed(1))
    async with connected(stage.url) as connection:
        channel = await connection.channel()
        await channel.basic_consume("outbound-failed", _keep, exclusive=True)
        code, _, err = await command(stage, "dead-letters", "groups")
    assert code == 4
    assert err.startswith("somebody else reads outbound-failed")


async def _keep(_: object) -> None:
    pass
