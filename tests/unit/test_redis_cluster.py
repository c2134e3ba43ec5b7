"""The client of a Redis Cluster gives up in time, and raises errors of Redis only."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from typing import Any

import pytest
from redis.asyncio import RedisCluster
from redis.exceptions import RedisError

from stream.redis.address import Address
from stream.redis.cluster import cluster_of


async def test_a_command_is_given_up_though_many_nodes_are_silent_one_after_the_other() -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(5)]
        hosts = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in silent)
        cluster = cluster_of(Address.parse(f"redis+cluster://{hosts}"), socket_timeout=0.2)
        cluster.most_s = 0.3
        started = time.monotonic()
        with pytest.raises(RedisError, match=r"no answer within 0\.3 s"):
            await cluster.get("a")
        assert time.monotonic() - started < 0.9  # five silent ones take 1 s at least
        await cluster.aclose()


async def test_a_connection_that_is_closed_while_it_is_opened_is_an_error_of_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def known(*_: Any, **__: Any) -> None:
        pass

    async def closed(*_: Any, **__: Any) -> None:
        raise AttributeError("'NoneType' object has no attribute 'writelines'")  # redis-py 8.1

    monkeypatch.setattr(RedisCluster, "initialize", known)
    monkeypatch.setattr(RedisCluster, "execute_command", closed)
    with pytest.raises(RedisError, match=r"AttributeError: .* 'writelines'"):
        await cluster_of(Address.parse("redis+cluster://127.0.0.1:1")).get("a")
