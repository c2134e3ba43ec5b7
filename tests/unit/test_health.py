"""Health says what is true: alive while it makes progress, ready while it consumes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import httpx
import pytest

from stream.app import STUCK_ALLOWANCE_S, build
from stream.delivery.inflight import InFlight
from stream.observe.health import HealthServer
from stream.observe.status import Dependency, Status, reachable
from stream.settings import Settings
from tests.unit.doubles import NO_TLS, Clock, delivery


async def rendered() -> bytes:
    return b"up 1\n"


def status(
    *dependencies: Dependency,
    consuming: bool = True,
    clock: Callable[[], float] = time.monotonic,
    circuits: Mapping[str, int] = MappingProxyType({}),
) -> Status:
    return Status(
        dependencies,
        consuming=lambda: consuming,
        circuits=lambda: circuits,
        rates=lambda: (1 / 3, 2 / 3),
        queues=depths,
        monotonic=clock,
    )


async def depths() -> dict[str, int]:
    return {"intake": 7}


async def answers() -> None:
    return None


async def refuses() -> None:
    raise ConnectionRefusedError("amqp://user:hunter2@host")


def dependency(name: str, probe: Callable[[], Awaitable[object]], *, required: bool = True) -> Dependency:
    return Dependency(name, required=required, probe=probe)


@pytest.mark.parametrize(("ready", "alive"), [(True, True), (False, True), (True, False)])
async def test_each_probe_answers_503_when_its_condition_is_false(*, ready: bool, alive: bool) -> None:
    whole = status(dependency("rabbitmq", answers), consuming=ready)
    server = HealthServer("127.0.0.1", 0, status=whole.read, ready=lambda: ready, alive=lambda: alive, metrics=rendered)
    port = await server.start()
    try:
        async with httpx.AsyncClient(verify=NO_TLS, base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/health/ready")).status_code == (200 if ready else 503)
            assert (await client.get("/health/live")).status_code == (200 if alive else 503)
            assert (await client.get("/health")).status_code == (200 if ready else 503)
            assert (await client.get("/metrics")).text == "up 1\n"
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("probe", "required", "overall"),
    [
        (answers, True, "healthy"),
        (refuses, True, "unhealthy"),
        (refuses, False, "degraded"),
    ],
)
async def test_a_dependency_that_is_down_counts_as_its_role_says(
    probe: Callable[[], Awaitable[object]], overall: str, *, required: bool
) -> None:
    state, everything = await status(dependency("redis", answers), dependency("other", probe, required=required)).read()
    assert (state, everything["status"]) == (overall, overall)
    assert everything["dependencies"]["redis"]["latencyMs"] >= 0
    assert everything["dependencies"]["other"]["status"] == ("up" if probe is answers else "down")
    assert "hunter2" not in str(everything)


async def test_the_report_tells_the_last_minute_and_the_queues_depths() -> None:
    _, everything = await status().read()
    assert everything["lastMinute"] == {"messagesPerSecond": 0.33, "errorRate": 0.6667}
    assert everything["queues"] == {"intake": 7}


async def test_a_dependency_that_does_not_answer_holds_the_report_a_second_at_most() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    started = time.monotonic()
    _, everything = await status(dependency("rabbitmq", never)).read()
    assert everything["dependencies"]["rabbitmq"]["error"] == "TimeoutError"
    assert time.monotonic() - started < 5


async def test_frequent_readers_do_not_become_load_on_the_dependencies() -> None:
    asked, clock = list[str](), Clock()

    async def probe() -> None:
        asked.append("once")

    whole = status(dependency("redis", probe), clock=clock)
    await asyncio.gather(whole.read(), whole.read())
    assert len(asked) == 1
    clock.now += 3
    await whole.read()
    assert len(asked) == 2


async def test_whether_a_host_listens_is_found_out_by_connecting() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await reachable(f"http://127.0.0.1:{port}/base")
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match="Connect"):
        await reachable(f"http://127.0.0.1:{port}/base")


async def test_the_age_of_the_oldest_try_is_what_tells_a_stuck_worker() -> None:
    now = [100.0]
    in_flight = InFlight(monotonic=lambda: now[0])
    assert in_flight.oldest_s() == 0
    release = asyncio.Event()

    async def work(_: object) -> None:
        await release.wait()

    in_flight.start(work, delivery())
    await asyncio.sleep(0)
    now[0] += 75
    assert in_flight.oldest_s() == 75
    release.set()
    await in_flight.drain(5)
    assert in_flight.oldest_s() == 0


async def test_the_oldest_message_in_flight_is_as_old_as_its_publish() -> None:
    in_flight = InFlight(now=lambda: 2_000_000_100.0)
    release = asyncio.Event()

    async def work(_: object) -> None:
        await release.wait()

    assert in_flight.oldest_message_s() == 0
    published = datetime.fromtimestamp(2_000_000_000, UTC)
    in_flight.start(work, delivery(timestamp=published))
    await asyncio.sleep(0)
    assert in_flight.oldest_message_s() == 100
    release.set()
    await in_flight.drain(5)


@pytest.mark.parametrize(("platform", "overall"), [(0, "healthy"), (1, "degraded")])
async def test_an_outage_of_the_platform_degrades_and_a_tenants_trouble_does_not(platform: int, overall: str) -> None:
    circuits = {"tenant": 3, "phone_number": 1, "platform": platform}
    state, everything = await status(circuits=circuits).read()
    assert (state, everything["openCircuits"]) == (overall, circuits)


async def test_a_worker_that_finishes_for_as_long_as_a_stop_may_take_before_it_goes_home_is_not_restarted() -> None:
    worker = build(Settings(tenant_service_url="http://tenants.invalid", shutdown_grace_ms=100_000))
    for seconds, alive in ((100.0, True), (100 + STUCK_ALLOWANCE_S, False)):
        vars(worker.connection)["stuck_s"] = lambda seconds=seconds: seconds
        assert worker.health._alive() is alive
    await worker.graph_http.aclose()
    await worker.tenant_http.aclose()
    await worker.redis.aclose()
