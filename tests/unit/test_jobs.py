"""`stream jobs stop`: it asks whoever runs the job, and a job that nobody runs is stopped from then on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, cast

import orjson
import pytest
from redis.asyncio import Redis

from stream.operations.dead_letters import lock
from stream.operations.dead_letters.job import KEY_PREFIX, Job, JobStore, Options, State
from stream.operations.dead_letters.running import stop_job

JOB = Job("job-1", "ann@host", "2026-11-28T12:00:00+00:00", "a test", {}, Options(), {})


class Store:
    """As much of Redis as a stop uses: the lock, and the record of one job."""

    def __init__(self, holder: dict[str, str] | None, state: State) -> None:
        self.values = {lock.KEY: orjson.dumps(holder) if holder else None}
        self.fields = {b"job": orjson.dumps(asdict(JOB)), b"state": state.value.encode(), b"because": b"", b"stop": b""}

    async def get(self, key: str) -> bytes | None:
        return self.values[key]

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        assert key == KEY_PREFIX + JOB.id
        return self.fields

    async def hscan_iter(self, *_: object, **__: object) -> AsyncIterator[tuple[bytes, bytes]]:
        for entry in ((b"a", b"pending\n"),):
            yield entry

    async def hset(self, key: str, name: str = "", value: str = "", mapping: dict[str, Any] | None = None) -> None:
        assert key == KEY_PREFIX + JOB.id
        self.fields |= {each.encode(): str(said).encode() for each, said in (mapping or {name: value}).items()}


RUNS_IT = {"who": "ann@host", "what": "replays, job job-1"}
RUNS_ANOTHER = {"who": "ann@host", "what": "replays, job job-11"}


@pytest.mark.parametrize(
    ("holder", "state", "after"),
    [
        (RUNS_IT, State.RUNNING, State.RUNNING),
        (RUNS_ANOTHER, State.RUNNING, State.STOPPED),
        (None, State.RUNNING, State.STOPPED),
        (None, State.DONE, State.DONE),
        (None, State.STOPPED, State.STOPPED),
    ],
)
async def test_a_stop_leaves_word_for_whoever_runs_the_job_and_ends_one_that_nobody_runs(
    holder: dict[str, str] | None, state: State, after: State
) -> None:
    redis = cast("Redis", store := Store(holder, state))
    assert await stop_job(JOB.id, redis) is (holder is RUNS_IT)
    found = await JobStore(redis).find(JOB.id)
    assert found is not None
    assert found.state is after
    assert bool(found.because) is (after is not state)
    assert bool(store.fields[b"stop"]) is (holder is RUNS_IT)
