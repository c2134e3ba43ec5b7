"""What a benchmark runs on: its own servers, the Tenant Service, the Graph API, and the settings for workers."""

from __future__ import annotations

import itertools
import os
import sys
import urllib.request
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson
from cryptography.fernet import Fernet

from bench.broker_counts import BrokerCounter
from bench.graph_stub import Graph, open_graph
from bench.load import Load
from bench.redis_counts import RedisCounter
from bench.servers import ServerClocks
from sandbox.processes import ServerProcess, answers, free_ports
from sandbox.world import VARIABLES, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

START_SECONDS: Final = 30


class Tenants:
    """The sandbox's Tenant Service in a separate process.

    Args:
        folder: Where its log goes.
    """

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._process = ServerProcess("tenants", folder / "tenants.log")
        command = [sys.executable, "-m", "sandbox", "tenants", "--port", str(port)]
        health = b"GET /_sandbox/health HTTP/1.0\r\n\r\n"
        self._process.start(command, os.environ, lambda: answers(port, health, b"HTTP/1.0 200"), START_SECONDS)

    def fetches(self) -> int:
        """How often credentials were asked for."""
        with urllib.request.urlopen(f"{self.url}/_sandbox/summary", timeout=30) as answer:
            return int(orjson.loads(answer.read())["fetches"])

    def stop(self) -> None:
        """End it."""
        self._process.kill()


@dataclass
class Stage:
    """Everything that a measurement needs."""

    folder: Path
    load: Load
    graph: Graph
    tenants: Tenants
    redis: RedisCounter
    broker: BrokerCounter
    servers: ServerClocks
    rabbitmq_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    cache_key: str = field(repr=False)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_tenants(self, count: int) -> list[str]:
        """Tenants that no worker has met before."""
        number = next(self._numbers)
        return [f"bench-{number}-{each}" for each in range(count)]

    def log(self, kind: str) -> Path:
        """A log file of its own for one worker."""
        return self.folder / f"{kind}-{next(self._numbers)}.log"

    def settings(self, prefetch: int, graph_url: str) -> dict[str, str]:
        """A worker's environment, with everything on."""
        return {
            "RABBITMQ_URL": self.rabbitmq_url,
            "REDIS_URL": self.redis_url,
            "TENANT_SERVICE_URL": self.tenants.url,
            "META_API_BASE_URL": graph_url,
            "CREDENTIAL_CACHE_KEYS": self.cache_key,
            "RABBITMQ_PREFETCH": str(prefetch),
            # Pacing is on, but nothing has to wait: the speed of the worker is measured, not that of a limit.
            "PHONE_NUMBER_RATE": "100000",
            "PAIR_INTERVAL_MS": "1",
            "PAIR_BURST": "1000",
        }


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    """Start everything, and stop it at the end."""
    for variable in VARIABLES.values():
        if os.environ.pop(variable, None):
            print(f"{variable} is not used: the benchmark deletes queues, so it takes servers of its own")
    with open_world() as world, open_graph(world.base_dir / "graph") as graph:
        tenants = Tenants(world.base_dir)
        redis = RedisCounter(world.redis.url)
        try:
            async with Load(world.rabbitmq.url) as load:
                key = Fernet.generate_key().decode()
                yield Stage(
                    folder=world.base_dir,
                    load=load,
                    graph=graph,
                    tenants=tenants,
                    redis=redis,
                    broker=BrokerCounter(world.rabbitmq),
                    servers=ServerClocks(world),
                    rabbitmq_url=world.rabbitmq.url,
                    redis_url=world.redis.url,
                    cache_key=key,
                )
        finally:
            redis.close()
            tenants.stop()
