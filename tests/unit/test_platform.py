"""The platform's circuit, as a replica remembers it."""

from __future__ import annotations

from stream.contract.events import Scope
from stream.redis.client import connect
from stream.redis.link import RedisLink
from stream.traffic.circuit import Rules
from stream.traffic.platform import PlatformCircuit
from stream.traffic.transitions import Transitions


async def test_while_redis_is_away_no_circuit_is_shown_as_open() -> None:
    link = RedisLink(connect("redis://127.0.0.1:1"))
    platform = PlatformCircuit(link, Rules(5, 60_000, 15_000), Transitions(lambda *_: None))
    platform.open_circuits.update({Scope.PLATFORM: 1, Scope.TENANT: 3})
    await platform.look()
    assert set(platform.open_circuits.values()) == {0}
    await link.aclose()
