"""The soaks, in their short forms."""

from __future__ import annotations

from typing import Final

import pytest

from sandbox.soak import run_soak
from sandbox.soak_cluster import missing, run_cluster_soak
from sandbox.versions import versions
from sandbox.world import World

# CI runs both: the longer one on newer servers. Together, the first 90 s of the two have each thing that can fail.
SOAKS: Final = {"sentinel": (90, 2504), "cluster": (180, 1804)}  # seconds, and the seed
GROWTH_KIB: Final = 20 * 1024
# By Meta. It fails three times with some, so one more try that gets no answer is their last.
REFUSED: Final = {"INVALID_PHONE", "WINDOW_EXPIRED", "META_SERVER_ERROR"}


@pytest.mark.any_servers  # the longer one runs on newer servers
async def test_load_is_held_while_replicas_rabbitmq_and_redis_die_and_come_back(breakable: World) -> None:
    result = await run_soak(breakable, seconds=20, rate=40)
    assert result.held, result.rows()
    assert result.published > 300
    assert result.sent_once > 250


@pytest.mark.alone
async def test_load_is_held_while_a_cluster_a_redis_that_fails_over_and_replicas_fail_at_random(world: World) -> None:
    if lacks := missing():
        pytest.skip(lacks)
    redis = "cluster" if "Redis 8" in versions(world) else "sentinel"
    seconds, seed = SOAKS[redis]
    result = await run_cluster_soak(seconds, 100, redis, seed)
    assert result.held, result.rows()
    assert set(result.counted.dead) <= REFUSED, result.rows()
    assert result.failures.total() >= 4, result.rows()
    assert result.sent_meanwhile >= 1000, result.rows()
    assert max(result.memory_kib) - result.memory_kib[0] < GROWTH_KIB, result.rows()
