"""Replicas of this release take the place of an earlier one's, whose messages wait."""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
from itertools import cycle
from pathlib import Path

import pytest

from sandbox.worker import ROOT
from tests.scene import Scene, number, unique

EARLIER = "7fced74da5b740ffc1ab39858bebb9643155ac80"  # before there were circuits, paces and lanes
REPLICAS = 3
PER_SECOND = 100
pytestmark = pytest.mark.any_servers

TWICE_500 = "99932500"  # two waits
KINDS = (
    "1650555",  # accepted
    "999400200",  # accepted after 0.2 s
    TWICE_500,
    "99967",  # throttled once
    "999520",  # connection reset twice, not taken
)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The earlier release's code; it runs with this one's dependencies."""
    try:
        archive = subprocess.run(  # noqa: S603 - a fixed command
            ["git", "archive", EARLIER],  # noqa: S607 - whichever git is on the path
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"needs git, and the commit {EARLIER[:7]}: a shallow clone has not got it")
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


async def test_an_upgrade_replica_by_replica_under_load_loses_nothing_and_sends_nothing_twice(
    stage: Scene, earlier: Path
) -> None:
    stage.code = earlier
    replicas = [await stage.start_worker() for _ in range(REPLICAS)]
    stage.code = ROOT
    await stage.watch()
    tenants, kinds = cycle([unique("tenant") for _ in range(11)]), cycle(KINDS)
    recipients: list[str] = []
    replaced = asyncio.Event()

    async def load() -> None:
        while not replaced.is_set():
            recipients.append(number(next(kinds)))
            await stage.publish(recipients[-1], next(tenants))
            await asyncio.sleep(1 / PER_SECOND)

    def one_waits() -> bool:
        return any(len(stage.graph.by_recipient(to)) == 1 for to in recipients if to.startswith(TWICE_500))

    loading = asyncio.create_task(load())
    for replica in replicas:
        await stage.until(one_waits)  # for those that are left
        await stage.start_worker(CIRCUIT_FAILURES="0")  # a tenant may have many failures in a row
        assert await stage.stop_worker(replica) == 0
    replaced.set()
    await loading
    await stage.all_accepted(recipients, 60)
    await stage.settled()
    assert stage.accepted_of(recipients) == [1] * len(recipients)
    assert stage.letters == []
