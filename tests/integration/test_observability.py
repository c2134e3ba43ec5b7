"""What an operator sees from outside: metrics, and the detailed health, on real servers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from sandbox.worker import WorkerProcess
from stream.observe.instruments import CATALOG
from tests.scene import Scene, number, unique


async def health(worker: WorkerProcess) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{worker.port}/health")
    return answer.status_code, answer.json()


async def test_one_of_each_outcome_shows_in_the_metrics(stage: Scene) -> None:
    tenant = unique("counted")
    worker = await stage.start_worker()
    await stage.watch()
    sent, refused = await stage.publish(number(), tenant), await stage.publish(number("99910131026"), tenant)
    await stage.event(f"outbound.sent.{tenant}", sent)
    letter = await stage.letter(refused)
    await stage.settled()
    metrics = await stage.metrics(worker)
    assert metrics[f'messages_delivered_total{{tenant="{tenant}"}}'] == 1
    assert metrics[f'messages_consumed_total{{status="delivered",tenant="{tenant}"}}'] == 1
    assert metrics[f'messages_consumed_total{{status="dead_lettered",tenant="{tenant}"}}'] == 1
    assert letter.headers["x-error-code"] == 131026
    labels = f'error_code="131026",error_type="RECIPIENT_UNREACHABLE",retryable="false",tenant="{tenant}"'
    assert metrics[f"messages_failed_total{{{labels}}}"] == 1
    assert metrics[f'meta_api_requests_total{{status_code="200",tenant="{tenant}"}}'] == 1
    assert metrics['credential_fetch_duration_seconds_count{cached="false"}'] >= 1
    assert metrics["message_age_seconds_count"] == 1
    assert metrics["messages_in_flight"] == 0


async def test_the_queues_depths_are_the_brokers_own(stage: Scene) -> None:
    await stage.declare()
    await stage.outside.publish(b"not a message")
    worker = await stage.start_worker()
    await stage.publish(number("99910130429"))  # a throttle: it waits for ten seconds
    await stage.settled_to(waiting=1)
    metrics = await stage.metrics(worker)
    assert metrics['queue_messages{queue="intake"}'] == 0
    assert metrics['queue_messages{queue="waiting"}'] == 1
    assert metrics['queue_messages{queue="failed"}'] == 1


async def test_a_real_worker_exposes_nothing_undeclared(scene: Scene) -> None:
    declared = {metric.name for metric in CATALOG}
    suffixes = ("", "_bucket", "_sum", "_count")
    known = {name + suffix for name in declared for suffix in suffixes}
    names = {line.split("{")[0] for line in await scene.metrics(scene.workers[0])}
    assert {name for name in names if not name.startswith("process_")} <= known


async def test_health_names_each_dependency_with_state_and_latency(stage: Scene) -> None:
    worker = await stage.start_worker()
    await stage.watch()
    await stage.event("outbound.sent.acme", await stage.publish(number()))
    code, everything = await health(worker)
    assert (code, everything["status"]) == (200, "healthy")
    assert set(everything["dependencies"]) == {"rabbitmq", "redis", "tenantService", "metaApi"}
    for dependency in everything["dependencies"].values():
        assert dependency["status"] == "up"
        assert dependency["latencyMs"] >= 0
    assert everything["queues"]["intake"] == 0
    assert everything["lastMinute"]["messagesPerSecond"] > 0
    assert everything["lastMinute"]["errorRate"] == 0
    assert everything["uptimeS"] > 0
    assert everything["version"]


async def test_a_tenant_service_that_is_away_degrades_and_a_meta_that_is_away_is_unhealthy(stage: Scene) -> None:
    nobody = "http://127.0.0.1:9"  # the discard port: nobody listens
    degraded = await stage.start_worker(TENANT_SERVICE_URL=nobody)
    assert (await health(degraded))[1]["status"] == "degraded"
    unhealthy = await stage.start_worker(META_API_BASE_URL=nobody)
    code, everything = await health(unhealthy)
    assert (code, everything["status"]) == (503, "unhealthy")
    assert everything["dependencies"]["metaApi"]["error"] == "ConnectionRefusedError"


async def test_while_nothing_gets_through_the_error_rate_is_1(stage: Scene) -> None:
    worker = await stage.start_worker(META_API_TIMEOUT_MS="200")
    await stage.publish(number("99910130429"))  # a throttle
    await stage.publish(number("999409000"))  # no answer within the timeout
    await stage.publish(number("99939503"))  # Meta fails
    for reason in ("RATE_LIMIT", "NETWORK_ERROR", "META_SERVER_ERROR"):
        await stage.logged(worker, "waiting_for_retry", errorType=reason)
    assert (await health(worker))[1]["lastMinute"]["errorRate"] == 1


@pytest.mark.any_servers
@pytest.mark.parametrize("shown", ["full", "masked"])
async def test_log_wamid_decides_whether_metas_ids_are_in_the_log(stage: Scene, shown: str) -> None:
    worker = await stage.start_worker(LOG_WAMID=shown)
    to = number()
    for _ in range(2):
        await stage.publish(to, internal_id="twice")
    lines = [await stage.logged(worker, "delivered"), await stage.logged(worker, "duplicate")]
    wamid = (await stage.accepted(to)).wamid
    assert wamid is not None
    expected = wamid if shown == "full" else "wamid.***" + wamid[-12:]
    assert [line.get("wamid") or line.get("firstWamid") for line in lines] == [expected] * 2
    assert (wamid in worker.log.read_text()) == (shown == "full")


async def test_a_draining_worker_is_alive_and_not_ready(stage: Scene) -> None:
    worker = await stage.start_worker()
    slow = number("999402000")  # Meta takes two seconds
    await stage.publish(slow)
    await stage.until(lambda: stage.graph.by_recipient(slow), what="the send has begun")
    stopping = asyncio.create_task(stage.stop_worker(worker))
    await stage.until(lambda: not worker.ready(), what="not ready")
    assert worker.process.poll() is None
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.port}") as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health")).json()["consuming"] is False
    assert await stopping == 0
    assert stage.accepted_of([slow]) == [1]
