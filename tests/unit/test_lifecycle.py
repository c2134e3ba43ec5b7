"""A stop takes nothing more, then ends what runs, then writes what is left: in this order, or messages come twice."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from stream import lifecycle
from stream.delivery.inflight import Drained
from stream.lifecycle import Lifecycle, Worker
from stream.settings import Settings


class Story:
    """A worker whose parts note when they are asked."""

    def __init__(self, drained: Drained) -> None:
        self.told: list[str] = []
        self._drained = drained

    async def stop_deliveries(self) -> None:
        self.told.append("takes nothing more")

    async def sort_nothing_more(self) -> None:
        self.told.append("sorts nothing more")

    async def sort_later(self) -> None:
        self.told.append("sorts nothing for now")

    async def settle(self, timeout_s: float) -> None:
        self.told.append(f"waits for what runs for {timeout_s:g} s")

    def admit_nothing_more(self) -> None:
        self.told.append("starts nothing more")

    async def drain(self, timeout_s: float) -> Drained:
        self.told.append(f"ends what runs within {timeout_s:g} s")
        return self._drained

    async def flush(self) -> None:
        self.told.append("writes what is left")

    async def close(self) -> None:
        self.told.append("lets the connection go")

    def life(self) -> Lifecycle:
        worker: Any = SimpleNamespace(connection=self, in_flight=self, express=self)
        worker.sorting = SimpleNamespace(stop=self.sort_nothing_more, rest=self.sort_later)
        worker.admission = SimpleNamespace(close=self.admit_nothing_more)
        settings = Settings(tenant_service_url="http://tenants:3000", shutdown_grace_ms=25_000)
        return Lifecycle(cast("Worker", worker), settings)


@pytest.mark.parametrize("unknown", [0, 2])
async def test_a_stop_keeps_its_order_and_says_what_it_found(unknown: int) -> None:
    story = Story(Drained(finished=3, returned=1, unknown=unknown))
    with capture_logs() as lines:
        await story.life().drain()
    assert story.told == [
        "takes nothing more",
        "sorts nothing more",
        "starts nothing more",
        "ends what runs within 25 s",
        "writes what is left",
        "lets the connection go",
    ]
    assert lines == [{"event": "stopped", "log_level": "info", "finished": 3, "returned": 1, "unknown": unknown}]


async def test_before_it_changes_to_another_connection_it_finishes_what_is_in_flight() -> None:
    story = Story(Drained(0, 0, 0))
    await story.life()._finish()
    assert story.told == ["sorts nothing for now", "waits for what runs for 25 s", "writes what is left"]


class Deaf:
    """Parts that listen, and never answer."""

    def __init__(self) -> None:
        self.asked = 0

    async def start(self) -> int:
        return 8081

    async def watch(self, **_: Any) -> None:
        self.asked += 1
        await asyncio.Event().wait()

    async def watch_topology(self) -> None:
        await self.watch()

    async def watch_home(self, _finish: object) -> None:
        await self.watch()

    async def aclose(self) -> None:
        pass

    stop = aclose

    def life(self) -> Lifecycle:
        worker: Any = SimpleNamespace(
            health=self,
            connection=self,
            redis=self,
            platform=self,
            sorting=self,
            in_flight=self,
            graph_http=self,
            tenant_http=self,
            bound_s=60.0,
        )
        return Lifecycle(cast("Worker", worker), Settings(tenant_service_url="http://127.0.0.1:9"))


async def test_a_start_waits_for_neither_redis_nor_the_tenant_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "configure_logging", lambda *_, **__: None)  # it is the process' own
    deaf = Deaf()
    async with asyncio.timeout(0.5), deaf.life().around():
        await asyncio.sleep(0)
        assert deaf.asked == 6  # the tries in flight, Redis, the platform, the topology, the home, and the sorting
