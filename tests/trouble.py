"""Trouble that replicas share in Redis: no test on real servers inherits it from another."""

from __future__ import annotations

import pytest
from redis import Redis

# Most of it is about tenants, and many tests use the same one.
SHARED = ("circuit*", "open-circuits*", "alerts*", "credentials-refused*", "token-refused*")


def forget_trouble(url: str) -> None:
    """Close every circuit, and forget which alerts were sent."""
    with Redis.from_url(url) as redis:
        for names in SHARED:
            for key in redis.scan_iter(f"whatsapp-stream:{names}", count=1000):
                redis.delete(key)


@pytest.fixture(autouse=True)
def no_trouble(request: pytest.FixtureRequest) -> None:
    """Each test of a folder whose conftest imports this begins without trouble, if it needs the servers."""
    if "world" in request.fixturenames:
        forget_trouble(request.getfixturevalue("world").redis.url)
