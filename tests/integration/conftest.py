"""What several tests on real servers ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.world import World
from stream.redis.client import connect
from stream.redis.link import RedisLink
from tests.alone import place
from tests.trouble import no_trouble

__all__ = ("link", "no_trouble", "place")


@pytest.fixture
async def link(world: World) -> AsyncIterator[RedisLink]:
    """A link to the run's Redis."""
    opened = RedisLink(connect(world.redis.url))
    yield opened
    await opened.aclose()
