"""`stream dead-letters replay` on real servers: what it sends, what it leaves, and how it stops."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from typing import Any

import pytest

from stream.broker.handover import Handover
from stream.broker.look import Look
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.job import Entry, Job, Options, Status
from stream.operations.dead_letters.planning import plan_for
from stream.operations.dead_letters.running import Ended, run_job
from stream.operations.redis_link import redis_link
from tests.integration.test_dead_letter_looks import asked, command, start
from tests.integration.test_queue_look import KINDS, QUORUM_ON_NEWER, Content, connected, content
from tests.letters import CAUSES, Cause, lay, letter_of, mixed
from tests.scene import Scene, number, unique

AUTH, PAYMENT, DOUBT, WRONG, OUTAGE = CAUSES
REFUSED = "99910131047"  # the simulator refuses such numbers with this code
REASON = ("--reason", "a test")


def letters_to(recipients: list[str], cause: Cause = AUTH) -> list[tuple[bytes, dict[str, Any]]]:
    return [letter_of(cause, to, unique("id")) for to in recipients]


async def lying(stage: Scene) -> Content:
    async with connected(stage.url) as connection:
        return await content(connection)


async def replayed(stage: Scene, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a job; returns its last line."""
    ended, out, err = await command(stage, "dead-letters", "replay", *words, *REASON, "--yes", "--json")
    assert ended == code, (out, err)
    return dict(json.loads(out.splitlines()[-1]))


@pytest.mark.parametrize("kind", QUORUM_ON_NEWER)
async def test_a_replay_of_one_cause_leaves_the_others_as_they_are(stage: Scene, kind: str) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    letters = mixed(500)
    await lay(stage.url, letters)
    before = await lying(stage)
    await stage.start_worker(RABBITMQ_QUEUE_TYPE=kind)
    (plan,) = await asked(stage, "replay", "--type", "AUTH_ERROR", *REASON)
    assert (plan["matched"], plan["wouldReplay"], plan["skipped"]) == (100, 100, {})
    assert await lying(stage) == before
    done = await replayed(stage, "--type", "AUTH_ERROR")
    assert (done["replayed"], done["delivered"], done["left"], done["stopped"]) == (100, 100, 0, False)
    assert await lying(stage) == [each for each in before if each[1]["x-error-type"] != "AUTH_ERROR"]
    recipients = [json.loads(body)["wabaPayload"]["to"] for body, headers in letters if "AUTH_ERROR" in str(headers)]
    assert stage.accepted_of(recipients) == [1] * 100


async def test_a_copy_starts_anew_and_keeps_the_publishers_headers(stage: Scene) -> None:
    await stage.declare()
    to = number(REFUSED)
    await lay(stage.url, letters_to([to]))
    ((_, before),) = await lying(stage)
    await stage.start_worker()
    done = await replayed(stage, code=1)
    assert (done["failedAgain"], done["stopped"]) == (1, True)
    ((_, after),) = await lying(stage)
    assert (after["x-error-type"], after["x-attempts"]) == ("WINDOW_EXPIRED", 1)
    assert (after["x-replays"], after["x-replay-job"]) == (1, done["job"])
    assert (after["x-first-seen"], after["X-Upstream"]) == (before["x-first-seen"], "kept")
    assert "x-retries" not in after


@pytest.mark.any_servers
async def test_a_ramp_stops_on_a_cause_that_is_not_cured(stage: Scene) -> None:
    await stage.declare()
    recipients = [number(REFUSED) for _ in range(60)]
    await lay(stage.url, letters_to(recipients))
    await stage.start_worker()
    done = await replayed(stage, code=1)
    assert done["stopped"]
    assert sum(len(stage.graph.by_recipient(to)) for to in recipients) <= 26
    assert len(await lying(stage)) == 60


@pytest.mark.any_servers
async def test_what_was_sent_before_is_left_with_its_wamid(stage: Scene) -> None:
    await stage.declare()
    to, internal_id = number(), unique("id")
    await stage.start_worker()
    await lay(stage.url, [letter_of(AUTH, to, internal_id)])
    body, _ = letter_of(AUTH, to, internal_id)
    await stage.outside.publish(body, "acme")
    wamid = (await stage.accepted(to)).wamid
    (plan,) = await asked(stage, "replay", *REASON)
    assert (plan["wouldReplay"], plan["skipped"]) == (0, {"already sent": 1})
    assert list(plan["sentBefore"].values()) == [wamid]
    done = await replayed(stage)
    assert (done["replayed"], done["alreadySent"]) == (0, 1)
    assert len(stage.taken(to)) == 1


@pytest.mark.any_servers
async def test_doubt_and_faults_need_a_word_from_the_operator(stage: Scene) -> None:
    await stage.declare()
    doubtful, wrong = number(), number()
    await lay(stage.url, [*letters_to([doubtful], DOUBT), *letters_to([wrong], WRONG)])
    await stage.start_worker()
    assert (await replayed(stage))["skipped"] == {"in doubt": 1, "fix first": 1}
    assert (await replayed(stage, "--resend-in-doubt"))["delivered"] == 1
    assert (await replayed(stage, "--anyway"))["delivered"] == 1
    assert stage.accepted_of([doubtful, wrong]) == [1, 1]


@pytest.mark.any_servers
async def test_a_field_can_be_changed_and_the_difference_is_kept(stage: Scene) -> None:
    await stage.declare()
    wrong, right = number(), number(REFUSED)
    await lay(stage.url, letters_to([wrong], WRONG))
    await stage.start_worker()
    code, _, err = await command(stage, "dead-letters", "replay", "--set", "text.body=x", *REASON)
    assert (code, err.startswith("--set text.body: only to")) == (2, True)
    change = {"to": [f"***{wrong[-4:]}", f"***{right[-4:]}"]}
    (plan,) = await asked(stage, "replay", "--set", f"to={right}", *REASON)
    assert (plan["wouldReplay"], plan["changes"]) == (1, change)
    _, out, _ = await command(stage, "dead-letters", "replay", "--set", f"to={right}", *REASON)
    assert f"to: ***{wrong[-4:]} -> ***{right[-4:]}" in out
    done = await replayed(stage, "--set", f"to={right}", code=1)  # the new one is refused, which shows its letter
    assert done["failedAgain"] == 1
    code, out, _ = await command(stage, "jobs", "show", done["job"], "--json")
    assert (code, json.loads(out)["changes"]) == (0, change)
    _, out, _ = await command(stage, "jobs", "show", done["job"])
    assert f"changes        to: ***{wrong[-4:]} -> ***{right[-4:]}\ncounts         failed again: 1\n" in out
    ((body, headers),) = await lying(stage)
    assert json.loads(body)["wabaPayload"]["to"] == right
    assert json.loads(headers["x-replayed-from"])["changed"] == change


@pytest.mark.parametrize("kind", QUORUM_ON_NEWER)
async def test_a_job_that_is_killed_goes_on_and_loses_and_doubles_nothing(stage: Scene, kind: str) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    recipients = [number() for _ in range(240)]
    await lay(stage.url, letters_to(recipients))
    await stage.start_worker(RABBITMQ_QUEUE_TYPE=kind)
    process = await start(stage, "dead-letters", "replay", *REASON, "--yes", "--rate", "100")
    await stage.until(lambda: sum(stage.accepted_of(recipients)) > 60, 30)
    process.kill()
    await process.communicate()
    (job,) = await jobs(stage)
    for _ in range(2):  # killed once more, at another instant
        process = await start(stage, "jobs", "resume", job["job"])
        already = sum(stage.accepted_of(recipients))
        await stage.until(lambda: sum(stage.accepted_of(recipients)) > already + 30, 40)  # noqa: B023 - awaited here
        process.send_signal(signal.SIGKILL)
        await process.communicate()
    code, out, err = await command(stage, "jobs", "resume", job["job"], "--json")
    done = json.loads(out.splitlines()[-1])
    assert (code, err, done["left"], done["replayed"]) == (0, "", 0, 240)
    await stage.all_accepted(recipients)
    await stage.settled()
    assert stage.accepted_of(recipients) == [1] * 240
    assert await lying(stage) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("instant", ["before the publish", "before the note", "before the take-off", "after all"])
async def test_a_job_that_dies_at_any_instant_goes_on(
    stage: Scene, kind: str, instant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.declare("quorum" if kind == "quorum" else "classic")
    recipients = [number() for _ in range(8)]
    await lay(stage.url, letters_to(recipients))
    await stage.start_worker(RABBITMQ_QUEUE_TYPE=kind)
    monkeypatch.setenv("RABBITMQ_URL", stage.url)
    monkeypatch.setenv("REDIS_URL", stage.settings["REDIS_URL"])
    async with redis_link() as link:
        plan = await plan_for(Filter(), Options(), link.redis)
        job = Job.new("a test", {}, Options(), {})
        with monkeypatch.context() as patch:
            dies_at(instant, patch)
            with pytest.raises(Died):
                await run_job(job, {name: Entry() for name in plan.letters}, link.redis, fresh=True)
        entries: dict[str, Entry] = {}  # it reads what its record says once it holds the lock
        assert await run_job(job, entries, link.redis, fresh=False) == Ended()
        assert {entry.status for entry in entries.values()} == {Status.DELIVERED}
    await stage.settled()
    assert stage.accepted_of(recipients) == [1] * 8
    assert await lying(stage) == []


class Died(Exception):  # noqa: N818 - it reads as what it is
    """The process ends here."""


def dies_at(instant: str, patch: pytest.MonkeyPatch) -> None:
    """Have the job's third letter be its last."""
    place, name, after = {
        "before the publish": (Handover, "publish", False),
        "before the note": (Handover, "publish", True),
        "before the take-off": (Look, "take_off", False),
        "after all": (Look, "take_off", True),
    }[instant]
    original, calls = getattr(place, name), itertools.count(1)

    async def dying(*args: Any, **options: Any) -> None:
        last = next(calls) == 3
        if not last or after:
            await original(*args, **options)
        if last:
            raise Died

    patch.setattr(place, name, dying)


@pytest.mark.any_servers
async def test_a_second_operator_is_told_who_is_at_it(stage: Scene) -> None:
    await stage.declare()
    await lay(stage.url, letters_to([number() for _ in range(50)]))
    first = await start(stage, "dead-letters", "replay", *REASON, "--yes", "--json")  # no worker: it waits
    await until_job(stage)
    code, _, err = await command(stage, "dead-letters", "groups")
    assert code == 4
    (job,) = await jobs(stage)
    code, _, err = await command(stage, "jobs", "resume", job["job"])
    assert (code, job["who"] in err, job["job"] in err) == (4, True, True)
    code, _, err = await command(stage, "dead-letters", "replay", *REASON)
    assert (code, job["who"] in err, job["job"] in err) == (4, True, True)
    code, _, _ = await command(stage, "jobs", "stop", job["job"])
    out, _ = await asyncio.wait_for(first.communicate(), 20)
    assert (code, first.returncode) == (0, 1)
    done = json.loads(out.splitlines()[-1])
    assert (done["stopped"], done["replayed"], done["left"]) == (True, 1, 49)
    assert await stage.outside.count("outbound-failed") == 49


@pytest.mark.any_servers
async def test_the_lock_names_who_resumed_a_job_not_who_made_it(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.declare()
    await lay(stage.url, letters_to([number(), number()]))
    monkeypatch.setenv("LOGNAME", "ann")
    first = await start(stage, "dead-letters", "replay", *REASON, "--yes")
    await until_job(stage)
    first.terminate()
    await first.communicate()
    (job,) = await jobs(stage)
    monkeypatch.setenv("LOGNAME", "bob")
    second = await start(stage, "jobs", "resume", job["job"])
    await stage.until_async(stage.outside.intake, 2, 20)
    _, _, err = await command(stage, "dead-letters", "replay", *REASON)
    assert (job["who"][:4], err[:4]) == ("ann@", "bob@")
    second.terminate()
    await second.communicate()


async def test_a_signal_stops_a_job_between_two_letters(stage: Scene) -> None:
    await stage.declare()
    await lay(stage.url, letters_to([number() for _ in range(5)]))
    process = await start(stage, "dead-letters", "replay", *REASON, "--yes", "--json")
    await until_job(stage)
    process.send_signal(signal.SIGTERM)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert json.loads(out.splitlines()[-1])["stoppedBecause"] == "signal SIGTERM"


async def jobs(stage: Scene) -> list[dict[str, Any]]:
    """Jobs of this stage: others share its Redis."""
    code, out, _ = await command(stage, "jobs", "list", "--json")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()][:1]


async def until_job(stage: Scene) -> None:
    """Wait until a job has sent its first letter on."""
    await stage.until_async(stage.outside.intake, 1, 20)
