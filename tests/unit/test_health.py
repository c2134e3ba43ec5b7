"""Health says what is true: alive while it makes progress, ready while it consumes."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from stream.delivery.inflight import InFlight
from stream.observe.health import HealthServer


@pytest.mark.parametrize(("ready", "alive"), [(True, True), (False, True), (True, False)])
async def test_each_probe_answers_503_when_its_condition_is_false(*, ready: bool, alive: bool) -> None:
    server = HealthServer("127.0.0.1", 0, ready=lambda: ready, alive=lambda: alive, metrics=lambda: b"up 1\n")
    port = await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/health/ready")).status_code == (200 if ready else 503)
            assert (await client.get("/health/live")).status_code == (200 if alive else 503)
            assert (await client.get("/metrics")).text == "up 1\n"
    finally:
        await server.stop()


async def test_the_age_of_the_oldest_try_is_what_tells_a_stuck_worker() -> None:
    now = [100.0]
    in_flight = InFlight(monotonic=lambda: now[0])
    assert in_flight.oldest_s() == 0
    release = asyncio.Event()

    async def work() -> None:
        await release.wait()

    running = asyncio.create_task(in_flight.run(work))
    await asyncio.sleep(0)
    now[0] += 75
    assert in_flight.oldest_s() == 75
    release.set()
    await running
    assert in_flight.oldest_s() == 0
