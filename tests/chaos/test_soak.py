"""The soak, in its short form."""

from __future__ import annotations

from sandbox.soak import run_soak
from sandbox.world import World


async def test_load_is_held_while_replicas_rabbitmq_and_redis_die_and_come_back(breakable: World) -> None:
    result = await run_soak(breakable, seconds=20, rate=40)
    assert result.held, result.rows()
    assert result.published > 300
    assert result.sent_once > 250
