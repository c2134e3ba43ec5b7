"""One run of a job: what it sends, what it notes, what it takes off, and whether another look must follow."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from redis.asyncio import Redis

from stream.broker.look import Look
from stream.operations.dead_letters.copying import ledger_key
from stream.operations.dead_letters.job import Entry, Job, Options, Status
from stream.operations.dead_letters.known import known_of_either
from stream.operations.dead_letters.looking import Seen, found
from stream.operations.dead_letters.plan import Known, Permission
from stream.operations.dead_letters.reading import read_letter
from stream.operations.dead_letters.session import Session
from stream.operations.dead_letters.spool import Spool
from stream.operations.exits import CommandFailed
from tests.unit.dead_letter_queue import delivered
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
        made = Job(job, "me@here", NOW.isoformat(), "a test", {}, options, {})
        session = Session(made, entries, cast("Redis", self.ledger), self.spool, stop=lambda: "", advanced=lambda: None)
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
async def test_a_letter_whose_first_copy_is_being_sent_is_published_again_as_the_same_message(
    scene: Scene, options: Options
) -> None:
    name, key = scene.lay(), ledger_key(BODY, WRITTEN)
    scene.ledger.hashes[key] = {"state": b"sending"}
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
    scene.ledger.hashes[entries[name].key]["state"] = b"sending"
    await scene.run(entries)
    first, again = scene.intake.resends
    assert first == again is not None


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
        with pytest.raises(CommandFailed, match=r"temporary file in .* cannot be written"), Spool() as spool:
            spool.keep(scene.lying[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_letter_that_cannot_be_copied_is_left_and_the_others_are_sent(scene: Scene) -> None:
    large, other = scene.lay(x_upstream="x" * 120_000), scene.lay()
    entries = {large: Entry(), other: Entry()}
    await scene.run(entries)
    assert [entry.status.value for entry in entries.values()] == ["cannot be copied", "delivered"]
    assert scene.taken_off == [2]


async def test_a_letter_is_gone_only_if_rabbitmq_has_shown_all(scene: Scene) -> None:
    (name,) = entries = {scene.lay(): Entry()}
    (letter,) = scene.lying
    scene.lying, scene.unseen = [], 1
    assert await scene.run(entries)  # there must be another look
    assert entries[name].status is Status.PENDING
    scene.unseen = 0
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
