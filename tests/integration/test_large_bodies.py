"""A body that is larger than any message needs costs neither memory nor time: it is dead-lettered unread."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from sandbox.worker import WorkerProcess
from tests.scene import Scene, number, text_message, unique

pytestmark = pytest.mark.any_servers

MIB = 1024 * 1024
LIMIT_MIB = 512  # of the shipped Kubernetes deployment
AT_ONCE = 20  # all that a worker with default settings looks at


def large_body(size: int, internal_id: str, to: str = "", tenant: str = "acme") -> bytes:
    """A message that would be delivered but for its size, in the form that takes most memory to read."""
    piece = b',{"":{"":{}}}'
    body = orjson.dumps({**text_message(to or number(), tenant, internal_id), "later": [0]})
    return body.replace(b"[0]", b"[0" + piece * ((size - len(body)) // len(piece)) + b"]").ljust(size)


def peak_mib(worker: WorkerProcess) -> float:
    """The most memory that the worker has had in use."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


async def test_twenty_bodies_of_16_mib_at_once_are_dead_lettered_within_the_shipped_memory_limit(stage: Scene) -> None:
    await stage.declare()
    await stage.watch()
    sent = {internal_id: large_body(16 * MIB, internal_id) for internal_id in map(unique, ["huge"] * AT_ONCE)}
    for body in sent.values():
        await stage.outside.publish(body, "acme")
    worker = await stage.start_worker()
    await stage.until(lambda: len(stage.letters) == AT_ONCE, seconds=60)
    assert sorted(letter.body for letter in stage.letters) == sorted(sent.values())
    for letter in stage.letters:
        assert letter.headers["x-error-type"] == "INVALID_MESSAGE"
        assert str(letter.headers["x-error-detail"]).startswith("body: is 16,777,216 bytes long")
    assert peak_mib(worker) < LIMIT_MIB
    to = number()
    await stage.publish(to)
    await stage.accepted(to)


async def test_ten_bodies_of_the_allowed_size_are_sent_at_once_within_the_shipped_memory_limit(stage: Scene) -> None:
    worker = await stage.start_worker()
    await stage.watch()
    bodies = [large_body(MIB, unique("large")) for _ in range(10)]
    recipients = [orjson.loads(body)["wabaPayload"]["to"] for body in bodies]
    for body in bodies:
        await stage.outside.publish(body, "acme")
    await stage.all_accepted(recipients, seconds=60)
    assert peak_mib(worker) < LIMIT_MIB


async def test_a_hundred_bodies_of_the_allowed_size_that_wait_in_full_lanes_fit_into_the_shipped_memory_limit(
    stage: Scene,
) -> None:
    worker = await stage.start_worker()
    recipients = [number("999401000") for _ in range(100)]
    for index, to in enumerate(recipients):  # five tenants: their lanes are full, and so is all that is looked at
        tenant = f"large-{index % 5}"
        await stage.outside.publish(large_body(MIB, unique("large"), to, tenant), tenant)
    await stage.all_accepted(recipients, seconds=60)
    assert peak_mib(worker) < LIMIT_MIB


@pytest.mark.parametrize(("limit", "expected"), [(2000, "delivered"), (1999, "dead-lettered")])
async def test_the_largest_body_is_a_setting(stage: Scene, limit: int, expected: str) -> None:
    await stage.start_worker(MESSAGE_MAX_BYTES=str(limit))
    await stage.watch()
    internal_id = unique("limited")
    body = large_body(2000, internal_id)
    await stage.outside.publish(body, "acme")
    if expected == "delivered":
        await stage.accepted(orjson.loads(body)["wabaPayload"]["to"])
    else:
        assert str((await stage.letter(internal_id)).headers["x-error-detail"]).startswith("body: ")
