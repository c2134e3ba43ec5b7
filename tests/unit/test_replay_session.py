"""One run of a job: what it sends, what it notes, what it takes off, and whether another look must follow."""

from __future__ import annotations

import asyncio
import json
import resource
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from tempfile import SpooledTemporaryFile
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.broker.look import Look
from stream.operations.dead_letters import lock, running
from stream.operations.dead_letters.brake import Brake, Stopped
from stream.operations.dead_letters.commands import write_line
from stream.operations.dead_letters.copying import ledger_key
from stream.operations.dead_letters.job import Entry, Job, JobStore, Options, Status
from stream.operations.dead_letters.known import known_of_either
from stream.operations.dead_letters.looking import Seen, found
from stream.operations.dead_letters.plan import Known, Permission
from stream.operations.dead_letters.reading import read_letter
from stream.operations.dead_letters.replay import finish
from stream.operations.dead_letters.running import Ended
from stream.operations.dead_letters.session import Session
from stream.operations.dead_letters.spool import Spool
from stream.operations.exits import CommandFailed, ExitCode
from tests.unit.dead_letter_queue import delivered
from tests.unit.doubles import turns
from tests.unit.test_letters import BODY, NOW, WRITTEN

RESENDING = Options(allowed=Permission(in_doubt=True), rate=1000)


class Ledger:
    """The few commands of Redis that a session uses: hashes in memory."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, Any]] = {}
        self._asked: list[list[Any]] = []

    async def hset(self, key: str, *, mapping: dict[str, Any]) -> None:
        if mapping:
            self.hashes.setdefault(key, {}).update(mapping)

    def pipeline(self, *, transaction: bool) -> Ledger:
        assert not transaction
        return self

    async def __aenter__(self) -> Self:
        self._asked = []
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def hmget(self, key: str, *fields: str) -> None:
        self._asked.append([self.hashes.get(key, {}).get(field) for field in fields])

    async def execute(self) -> list[list[Any]]:
        return self._asked


class Intake:
    """RabbitMQ's intake and a worker: each copy is sent at once, unless the ledger knows that it was."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.sent: list[str] = []
        self.resends: list[object] = []
        self.is_closed, self.connection = False, self
        self.max_content_size = 131_064
        self._Channel__close_event = asyncio.Event()

    async def channel(self, **_: bool) -> Intake:
        return self

    async def ready(self) -> None:
        pass

    async def basic_publish(self, body: bytes, *, properties: Any, **_: Any) -> None:
        read, encoded = Basic.Properties(), properties.marshal()
        read.unmarshal(int.from_bytes(encoded[:2], "big"), encoded[2:])
        key = ledger_key(body, read.headers or {})
        self.resends.append((read.headers or {}).get("x-resend"))
        if self.ledger.hashes.get(key, {}).get("state") != b"sent":
            self.sent.append(key)
            self.ledger.hashes[key] = {"state": b"sent", "answer": b'["wamid.A"]'}


class Scene:
    """A dead-letter queue with letters, and jobs that replay them."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.intake = Intake(self.ledger)
        self.lying: list[DeliveredMessage] = []
        self.taken_off: list[int] = []
        self.spool = Spool()
        self.unseen = 0
        self.brake = Brake()
        self.now = NOW

    def lay(self, body: bytes = BODY, **headers: Any) -> str:
        """Lay a letter down; returns its id."""
        written = WRITTEN | {name.replace("_", "-"): value for name, value in headers.items()}
        self.lying.append(delivered(body, written, channel=self.intake))
        cast("Any", self.lying[-1].delivery).delivery_tag = len(self.lying)
        return seen(self.lying[-1]).letter.id

    async def take_off(self, tag: int) -> None:
        self.taken_off.append(tag)

    async def run(self, entries: dict[str, Entry], options: Options = RESENDING, job: str = "job-1") -> bool:
        """One session over all that lies there."""
        made, redis = Job(job, "me@here", NOW.isoformat(), "a test", {}, options, {}), cast("Redis", self.ledger)
        session = Session(
            made, entries, redis, self.spool, brake=self.brake, advanced=lambda: None, clock=lambda: self.now
        )
        for message in self.lying:
            session.visit(seen(message))
        count = len(self.lying)
        look = SimpleNamespace(take_off=self.take_off, seen=count, goal=count + self.unseen)
        return await session.run(cast("Look", look))


async def status_after(scene: Scene, name: str, job: str) -> str:
    entries = {name: Entry()}
    await scene.run(entries, job=job)
    return entries[name].status.value


def seen(message: DeliveredMessage) -> Seen:
    return Seen(read_letter(found(message), now=NOW, max_age=timedelta(days=1)), message)


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    with made.spool:
        yield made


@pytest.mark.parametrize("options", [RESENDING, Options(rate=1000)], ids=["doubt allowed", "doubt not allowed"])
async def test_a_letter_of_whose_first_copy_nothing_is_known_is_published_again_as_the_same_message(
    scene: Scene, options: Options
) -> None:
    name, key = scene.lay(), ledger_key(BODY, WRITTEN)
    entries = {name: Entry(Status.PUBLISHING, key)}
    await scene.run(entries, options)
    assert (scene.intake.sent, scene.intake.resends) == ([key], [None])
    assert entries[name].status is Status.DELIVERED


async def test_a_resend_that_was_begun_is_published_again_as_the_same_resend(scene: Scene) -> None:
    name = scene.lay(x_replay="in-doubt")
    entries = {name: Entry()}
    await scene.run(entries)
    assert entries[name].status is Status.DELIVERED
    entries = {name: Entry(Status.PUBLISHING, entries[name].key)}
    del scene.ledger.hashes[entries[name].key]
    await scene.run(entries)
    first, again = scene.intake.resends
    assert first == again is not None


@pytest.mark.parametrize("state", [b"sending", b"unknown", b"held"])
async def test_a_letter_whose_first_copy_came_to_a_worker_is_taken_off_and_not_published_again(
    scene: Scene, state: bytes
) -> None:
    name, key = scene.lay(), ledger_key(BODY, WRITTEN)
    scene.ledger.hashes[key] = {"state": state}
    entries = {name: Entry(Status.PUBLISHING, key)}
    await scene.run(entries)
    assert (scene.intake.sent, scene.taken_off, entries[name].status) == ([], [1], Status.REPLAYED)


async def test_a_look_that_took_letters_off_is_followed_by_another(scene: Scene) -> None:
    entries = {scene.lay(): Entry()}
    assert await scene.run(entries)
    assert scene.taken_off == [1]
    scene.lying.clear()
    assert not await scene.run(entries)


async def test_two_jobs_send_a_letter_in_doubt_once(scene: Scene) -> None:
    name = scene.lay(x_replay="in-doubt")  # its take-off was lost: it lies there for the second job
    assert [await status_after(scene, name, job) for job in ("job-1", "job-2")] == ["delivered", "already sent"]
    assert len(scene.intake.sent) == 1


async def test_what_the_ledger_knows_of_a_letters_resend_counts() -> None:
    ledger = Ledger()
    ledger.hashes = {"a": {"state": b"unknown"}, "A": {"state": b"sent", "answer": b'["wamid.A"]'}}
    known = await known_of_either(cast("Redis", ledger), ["a", "b", "A"], ["A", "B", "a"])
    assert known == [Known("wamid.A", in_doubt=True), Known(), Known("wamid.A", in_doubt=True)]


def test_a_full_disk_is_named_as_what_it_is(scene: Scene) -> None:
    scene.lay(b"x" * 200_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may grow beyond it
    try:
        with (
            pytest.raises(CommandFailed, match="temporary file cannot be written: File too large"),
            Spool() as spool,
        ):
            spool.keep(scene.lying[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_a_folder_for_temporary_files_a_job_and_a_list_say_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")  # as in a container whose file system is read-only
    with pytest.raises(CommandFailed, match=r"temporary file cannot be written: .* TMPDIR"):
        Spool()
    letter = seen(delivered(BODY, WRITTEN))
    with SpooledTemporaryFile(1, "w+") as lines, pytest.raises(CommandFailed, match="TMPDIR"):
        write_line(lines, letter, as_json=True)


async def test_a_letter_that_cannot_be_copied_is_left_and_the_others_are_sent(scene: Scene) -> None:
    large, other = scene.lay(x_upstream="x" * 120_000), scene.lay()
    entries = {large: Entry(), other: Entry()}
    await scene.run(entries)
    assert [entry.status.value for entry in entries.values()] == ["cannot be copied", "delivered"]
    assert scene.taken_off == [2]


async def test_a_letter_is_gone_only_if_rabbitmq_has_shown_all_twice(scene: Scene) -> None:
    (name,) = entries = {scene.lay(): Entry()}
    (letter,) = scene.lying
    scene.lying, scene.unseen = [], 1
    assert await scene.run(entries)  # there must be another look
    assert entries[name].status is Status.PENDING
    scene.unseen = 0
    assert await scene.run(entries)  # it may have begun while another look gave its letters back
    assert entries[name].status is Status.PENDING
    assert not await scene.run(entries)
    assert entries[name].status is Status.GONE
    scene.lying = [letter]
    await scene.run(entries)
    assert entries[name].status is Status.DELIVERED


async def test_a_letter_that_was_gone_after_its_publish_is_looked_up_first(scene: Scene) -> None:
    entries = {scene.lay(): Entry(Status.GONE, ledger_key(BODY, WRITTEN))}
    scene.ledger.hashes[ledger_key(BODY, WRITTEN)] = {"state": b"sent", "answer": b'["wamid.A"]'}
    await scene.run(entries)
    assert [entry.status for entry in entries.values()] == [Status.DELIVERED]
    assert (scene.intake.sent, scene.taken_off) == ([], [1])


async def test_a_letter_whose_validity_has_passed_since_the_plan_is_left(scene: Scene) -> None:
    entries = {scene.lay(): Entry()}
    scene.now = NOW + timedelta(days=1)
    await scene.run(entries)
    assert [entry.status.value for entry in entries.values()] == ["validity passed"]
    assert (scene.intake.sent, scene.taken_off) == ([], [])


async def test_a_slow_job_stops_at_once(scene: Scene) -> None:
    entries = {scene.lay(x_resend=str(number)): Entry() for number in range(3)}  # the second would go in 10 seconds
    job = asyncio.create_task(scene.run(entries, Options(rate=0.1)))
    await turns()  # the ramp's first step, and the first letter of its second
    assert len(scene.taken_off) == 2
    scene.brake.pull("signal SIGTERM")
    with pytest.raises(Stopped, match="signal SIGTERM"):
        await asyncio.wait_for(job, 5)
    assert [entry.status.value for entry in entries.values()] == ["delivered", "replayed", "pending"]


class Records:
    """A record of jobs that Redis gives in pages, and of which it may give a letter twice."""

    def __init__(self, fields: dict[bytes, bytes]) -> None:
        self.fields = list(fields.items())

    async def hscan_iter(self, key: str, *, count: int) -> AsyncIterator[tuple[bytes, bytes]]:
        assert (key, count) == ("whatsapp-stream:job:job-1:letters", 1_000)
        for field in [*self.fields, self.fields[0]]:
            yield field


async def test_the_letters_of_a_large_job_are_read_in_pages() -> None:
    store = JobStore(cast("Redis", Records({b"a": b"pending\n", b"b": b"delivered\nkey"})))
    assert await store.letters("job-1") == {"a": Entry(), "b": Entry(Status.DELIVERED, "key")}


class Deaf:
    """A record of jobs in a Redis that does not answer."""

    async def asked_to_stop(self, _: str) -> str:
        raise RedisTimeoutError("Timeout reading from redis:6379")


async def test_a_job_that_cannot_be_told_to_stop_any_more_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "ASK_S", 0)
    brake = Brake()
    await running.ask(brake, cast("JobStore", Deaf()), "job-1")
    with pytest.raises(Stopped, match=r"Redis cannot be reached: Timeout reading .*; check REDIS_URL") as told:
        brake.check()
    assert told.value.code is ExitCode.UNREACHABLE


class Renewals:
    """A lock in Redis: how its renewal ends."""

    def __init__(self, held: int | None) -> None:
        self.held = held

    async def eval(self, *_: object) -> int:
        if self.held is None:
            raise RedisTimeoutError("Timeout reading from redis:6379")
        return self.held


@pytest.mark.parametrize(("held", "code"), [(0, ExitCode.STOPPED), (None, ExitCode.UNREACHABLE)])
async def test_a_lost_lock_says_whether_redis_was_lost_or_somebody_took_it(
    held: int | None, code: ExitCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "RENEW_S", 0)
    told: list[ExitCode] = []
    await lock._renew(Renewals(held), b"", told.append)
    assert told == [code]


class Gone:
    """A Redis that is gone."""

    async def hset(self, _: str, **__: Any) -> None:
        raise RedisTimeoutError("Timeout connecting to server")


async def test_a_job_that_loses_redis_tells_what_it_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_to_do(*_: object) -> None:
        pass

    monkeypatch.setattr(running, "_looks", nothing_to_do)  # so that the job's end is what Redis is asked for
    job = Job.new("a test", {}, Options(), {})
    ended = await running._run(job, {}, cast("Redis", Gone()), Brake())
    sentence = "Redis cannot be reached: Timeout connecting to server; check REDIS_URL"
    assert ended == Ended(sentence, ExitCode.UNREACHABLE)


def test_the_last_line_is_printed_also_where_a_server_was_lost(capsys: pytest.CaptureFixture[str]) -> None:
    job, entries = Job.new("a test", {}, Options(), {}), {"a": Entry(Status.REPLAYED), "b": Entry()}
    with pytest.raises(CommandFailed, match=f"RabbitMQ .* lost; go on with: stream jobs resume {job.id}") as failed:
        finish(job, entries, Ended("RabbitMQ was lost", ExitCode.UNREACHABLE), as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert failed.value.code is ExitCode.UNREACHABLE
    assert (facts["job"], facts["replayed"], facts["left"], facts["stopped"]) == (job.id, 1, 1, True)
