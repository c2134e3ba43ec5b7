"""A job's record in Redis: who, when, why, which letters, and what became of each."""

from __future__ import annotations

import getpass
import secrets
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson

from stream.operations.dead_letters.plan import Permission
from stream.redis.client import Client

KEY_PREFIX: Final = "whatsapp-stream:job:"
INDEX: Final = "whatsapp-stream:jobs"
KEPT_S: Final = 30 * 86_400
MOST_LISTED: Final = 1_000
AT_ONCE: Final = 1_000  # fields in one write, and about so many in one read: Redis does nothing else meanwhile


class Status(StrEnum):
    """What became of a letter of a job."""

    PENDING = "pending"
    PUBLISHING = "publishing"  # a copy may be on the intake
    REPLAYED = "replayed"  # a copy is there, and the outcome is not known yet
    DELIVERED = "delivered"
    FAILED = "failed again"
    ALREADY_SENT = "already sent"
    IN_DOUBT = "in doubt"  # it became so after the plan was made
    EXPIRED = "validity passed"  # since the plan was made
    NO_COPY = "cannot be copied"  # its properties are too large, or no AMQP
    GONE = "gone"  # somebody has taken it off the queue


OPEN: Final = frozenset({Status.PENDING, Status.PUBLISHING})
SENT_ON: Final = frozenset({Status.REPLAYED, Status.DELIVERED, Status.FAILED})


class State(StrEnum):
    """Where a job is."""

    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Options:
    """How a job replays.

    Attributes:
        allowed: What the operator allows.
        edits: Path → new value.
        rate: Letters a second, after the ramp.
        stop_at: The share of failures that is still good, 0 to 1.
        patience_s: How long a step waits for its outcomes, in seconds.
    """

    allowed: Permission = field(default_factory=Permission)
    edits: Mapping[str, str] = field(default_factory=dict)
    rate: float = 50.0
    stop_at: float = 0.2
    patience_s: float = 60.0

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Options:
        """What `asdict` wrote."""
        return cls(**{**fields, "allowed": Permission(**fields["allowed"])})


@dataclass(frozen=True, slots=True)
class Job:
    """What a job is about.

    Attributes:
        id: Names it.
        who: User and host.
        at: When it was made, ISO 8601 in UTC.
        why: The operator's words.
        wanted: The filter, in words.
        options: How it replays.
        skipped: Reason → letters that the plan left out.
        changes: What its edits change in the first letter: path → before and after, with phone numbers masked.
    """

    id: str
    who: str
    at: str
    why: str
    wanted: Mapping[str, str]
    options: Options
    skipped: Mapping[str, int]
    changes: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def new(
        cls,
        why: str,
        wanted: Mapping[str, str],
        options: Options,
        skipped: Mapping[str, int],
        changes: Mapping[str, list[str]] | None = None,
    ) -> Job:
        """A job of this user's."""
        now = datetime.now(UTC)
        name = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        return cls(name, me(), now.isoformat(), why, wanted, options, skipped, changes or {})


def me() -> str:
    """This user on this host."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


@dataclass(slots=True)
class Entry:
    """A letter of a job.

    Attributes:
        status: What became of it.
        key: Its copy's place in the ledger, once it has one.
        missed: The last look that showed all did not show it; not written down.
    """

    status: Status = Status.PENDING
    key: str = ""
    missed: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """A job as Redis has it.

    Attributes:
        job: What it is about.
        state: Where it is.
        because: Why it stopped.
        counts: Status → letters.
    """

    job: Job
    state: State
    because: str
    counts: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """The object that scripts get."""
        job = self.job
        return {
            "job": job.id,
            "state": self.state.value,
            "who": job.who,
            "at": job.at,
            "why": job.why,
            "filter": job.wanted,
            "edits": sorted(job.options.edits),
            "changes": job.changes,
            "counts": self.counts,
            "skipped": job.skipped,
            "stoppedBecause": self.because or None,
        }


@dataclass(frozen=True, slots=True)
class Headline:
    """A job, without what became of each letter.

    Attributes:
        job: What it is about.
        state: Where it is.
        because: Why it stopped.
        letters: How many it has.
    """

    job: Job
    state: State
    because: str
    letters: int


class JobStore:
    """Keeps jobs in Redis.

    Args:
        redis: The client.
    """

    def __init__(self, redis: Client) -> None:
        self._redis: Any = redis  # its stubs know no awaitable hash commands

    async def create(self, job: Job, letters: Mapping[str, Entry]) -> None:
        """Write a job down with its letters. It can be resumed from then on."""
        await self.note(job.id, letters)
        fields = {"job": orjson.dumps(asdict(job)), "state": State.RUNNING.value, "because": "", "stop": ""}
        await self._redis.hset(KEY_PREFIX + job.id, mapping=fields)
        await self._redis.zadd(INDEX, {job.id: datetime.fromisoformat(job.at).timestamp()})
        for key in (KEY_PREFIX + job.id, _letters(job.id)):
            await self._redis.expire(key, KEPT_S)

    async def note(self, job_id: str, letters: Mapping[str, Entry]) -> None:
        """Write down what became of letters."""
        names = list(letters)
        for start in range(0, len(names), AT_ONCE):
            some = {name: f"{letters[name].status}\n{letters[name].key}" for name in names[start : start + AT_ONCE]}
            await self._redis.hset(_letters(job_id), mapping=some)

    async def letters(self, job_id: str) -> dict[str, Entry]:
        """What became of each letter."""
        found = {}
        async for name, value in self._redis.hscan_iter(_letters(job_id), count=AT_ONCE):
            status, key = value.decode().split("\n")
            found[name.decode()] = Entry(Status(status), key)
        return found

    async def find(self, job_id: str) -> Recorded | None:
        """A job; `None` if there is none of this name."""
        fields = await self._redis.hgetall(KEY_PREFIX + job_id)
        if not fields:
            return None
        counts = Counter(entry.status.value for entry in (await self.letters(job_id)).values())
        return Recorded(*_read(fields), counts)

    async def all(self) -> list[Recorded]:
        """The jobs that are remembered, the newest first."""
        names = await self._redis.zrevrange(INDEX, 0, MOST_LISTED)
        return [found for name in names if (found := await self.find(name.decode()))]

    async def headlines(self, most: int) -> list[Headline]:
        """The latest jobs, the newest first; a job of 100,000 letters costs no more than one of ten."""
        names = [name.decode() for name in await self._redis.zrevrange(INDEX, 0, most - 1)]
        return [found for name in names if (found := await self._headline(name))]

    async def _headline(self, job_id: str) -> Headline | None:
        fields = await self._redis.hgetall(KEY_PREFIX + job_id)
        return Headline(*_read(fields), await self._redis.hlen(_letters(job_id))) if fields else None

    async def set_state(self, job_id: str, state: State, because: str = "") -> None:
        """Write down where a job is."""
        await self._redis.hset(KEY_PREFIX + job_id, mapping={"state": state.value, "because": because, "stop": ""})

    async def ask_to_stop(self, job_id: str) -> None:
        """Leave word for whoever runs the job."""
        await self._redis.hset(KEY_PREFIX + job_id, "stop", me())

    async def asked_to_stop(self, job_id: str) -> str:
        """Who wants it to stop; empty if nobody does."""
        return (await self._redis.hget(KEY_PREFIX + job_id, "stop") or b"").decode()


def _read(fields: Mapping[bytes, bytes]) -> tuple[Job, State, str]:
    """A job, where it is, and why it stopped."""
    content = orjson.loads(fields[b"job"])
    job = Job(**{**content, "options": Options.read(content["options"])})
    return job, State(fields[b"state"].decode()), fields[b"because"].decode()


def _letters(job_id: str) -> str:
    return f"{KEY_PREFIX}{job_id}:letters"
