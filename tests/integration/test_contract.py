"""The document is true: what really crosses the broker is what it describes."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest
import yaml

from tests.contract import contract, problems
from tests.scene import Scene, management, number, unique


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param("99910131047", id="refused by Meta"),
        pytest.param("99912388054", id="refused by Meta with a subcode"),
    ],
)
async def test_a_real_dead_letter_is_as_described(scene: Scene, prefix: str) -> None:
    internal_id = await scene.publish(number(prefix), headers={"X-Correlation-ID": "order-4711"})
    letter = await scene.letter(internal_id)
    assert problems("DeadLetterHeaders", dict(letter.headers)) == []
    assert problems("DeadLetterBody", orjson.loads(letter.body)) == []
    alert = await scene.event("outbound.alert.acme", internal_id)
    assert problems("DeliveryAlert", alert) == []


async def test_a_real_dead_letter_of_unreadable_bytes_is_as_described(scene: Scene) -> None:
    body = orjson.dumps({"wabaPayload": {}, "metadata": {"internalId": unique("unreadable")}})
    await scene.outside.publish(body, "acme")
    await scene.until(lambda: [letter for letter in scene.letters if letter.body == body], what="the dead letter")
    (letter,) = (letter for letter in scene.letters if letter.body == body)
    assert problems("DeadLetterHeaders", dict(letter.headers)) == []


@pytest.mark.parametrize("example", contract()["components"]["messages"]["OutboundMessage"]["examples"])
async def test_every_example_of_the_document_is_delivered(scene: Scene, example: dict[str, Any]) -> None:
    message = orjson.loads(orjson.dumps(example["payload"]))
    message["metadata"]["internalId"] = unique(example["name"])
    given = {name: value for name, value in example["headers"].items() if name.startswith("X-")}
    await scene.outside.publish(orjson.dumps(message), "acme", headers=given)
    event = await scene.event("outbound.sent.acme", message["metadata"]["internalId"])
    assert problems("DeliverySent", event) == []


async def test_the_running_worker_serves_the_site_and_nothing_that_publishes(scene: Scene) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{scene.workers[0].port}") as client:
        page = await client.get("/docs/asyncapi", follow_redirects=True)
        assert page.status_code == 200
        assert "outbound-processed" in page.text
        for path in ("/docs/asyncapi/try", "/asyncapi/try", "/asyncapi", "/asyncapi.json", "/try"):
            assert (await client.get(path)).status_code == 404
            assert (await client.post(path, json={})).status_code == 404


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_a_worker_serves_the_contract_of_the_queues_that_it_declared(stage: Scene, queue_type: str) -> None:
    worker = await stage.start_worker(RABBITMQ_QUEUE_TYPE=queue_type)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.port}") as client:
        served = yaml.safe_load((await client.get("/docs/asyncapi/asyncapi.yaml")).text)
    bindings = [channel["bindings"]["amqp"] for channel in served["channels"].values()]
    described = [binding.get("x-queue") or binding.get("queue") for binding in bindings]
    async with management(stage.world) as api:
        found = (await api.get(f"/api/queues/{stage.url.rsplit('/', 1)[1]}")).raise_for_status().json()
    declared = {queue["name"]: queue["arguments"] for queue in found}
    shown = {queue["name"]: queue["arguments"] for queue in described if queue}
    assert shown == {name: declared[name] for name in ("outbound-processed", "outbound-failed")}
    assert {arguments["x-queue-type"] for arguments in shown.values()} == {queue_type}
