"""The topology: exactly the contract, safe to declare again, loud when it does not fit."""

from __future__ import annotations

from typing import Any

import aio_pika
import orjson
import pytest

from stream.broker.declaration import declare
from stream.broker.topology import Topology
from stream.contract import delays
from stream.contract.lanes import DEFAULT_LANES, LANE_EXCHANGE, lane_names
from stream.contract.queues import INTAKE_ARGUMENTS, INTAKE_QUEUE, QueueKind
from tests.scene import Scene, management, number, text_message, unique


async def test_the_worker_declares_the_contract(scene: Scene) -> None:
    async with management(scene.world) as api:
        queues = {queue["name"]: queue for queue in (await api.get("/api/queues/%2Fwhatsapp")).json()}
        exchanges = {each["name"]: each for each in (await api.get("/api/exchanges/%2Fwhatsapp")).json()}
        bindings = (await api.get("/api/bindings/%2Fwhatsapp")).json()
    intake = queues["outbound-processed"]
    assert intake["durable"]
    assert intake["arguments"] == {
        "x-dead-letter-exchange": "whatsapp-dlx",
        "x-dead-letter-routing-key": "outbound.failed",
        "x-message-ttl": 86_400_000,
        "x-queue-type": "classic",
    }
    assert queues["outbound-failed"]["durable"]
    for name in ("whatsapp-exchange", "whatsapp-dlx"):
        assert (exchanges[name]["type"], exchanges[name]["durable"]) == ("topic", True)
    bound = {(each["source"], each["destination"], each["routing_key"]) for each in bindings}
    assert ("whatsapp-exchange", "outbound-processed", "outbound.processed.#") in bound
    assert ("whatsapp-dlx", "outbound-failed", "outbound.failed") in bound
    for level in range(delays.LEVELS):
        assert queues[f"whatsapp-wait-{level:02d}"]["arguments"]["x-message-ttl"] == 250 * 2**level


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_what_is_due_comes_back_to_its_own_queue_past_the_intake_and_is_consumed(
    stage: Scene, kind: QueueKind
) -> None:
    await stage.start_worker(RABBITMQ_QUEUE_TYPE=kind)
    await stage.watch()
    channel = await stage._connection.channel()
    await (await channel.get_queue("outbound-processed")).unbind("whatsapp-delay-delivery", "#.outbound-processed")
    level, key = delays.route(0.25, "whatsapp-due")
    levels = await channel.get_exchange(level)
    to, spoiled = number(), unique("id")
    for body in (orjson.dumps(text_message(to, "acme", unique("id"))), f'{{"bad": "{spoiled}"}}'.encode()):
        await levels.publish(aio_pika.Message(body), key)
    await stage.accepted(to)
    assert (await stage.letter(spoiled)).headers["x-error-type"] == "INVALID_MESSAGE"


async def test_another_service_may_assert_the_intake_queue_without_a_queue_type(scene: Scene) -> None:
    connection = await aio_pika.connect(scene.url)
    async with connection:
        channel = await connection.channel()
        arguments: Any = INTAKE_ARGUMENTS
        queue = await channel.declare_queue("outbound-processed", durable=True, arguments=arguments)
        assert queue.name == "outbound-processed"
        await channel.declare_exchange("whatsapp-exchange", "topic", durable=True)


async def test_a_second_start_finds_everything_and_changes_nothing(stage: Scene) -> None:
    for _ in range(2):
        worker = await stage.start_worker()
        assert await stage.stop_worker(worker) == 0


@pytest.mark.parametrize(
    ("queue", "arguments", "named"),
    [
        ("outbound-processed", {**INTAKE_ARGUMENTS, "x-message-ttl": 1000}, ("x-message-ttl", "1000", "86400000")),
        ("outbound-failed", {"x-max-length": 5}, ("x-max-length", "5", "none")),
        ("whatsapp-wait-03", {"x-queue-type": "quorum"}, ("x-dead-letter-exchange", "none", "whatsapp-wait-02")),
    ],
)
async def test_a_queue_with_other_arguments_stops_the_start_with_one_sentence(
    stage: Scene, queue: str, arguments: dict[str, Any], named: tuple[str, ...]
) -> None:
    channel = await stage._connection.channel()
    await channel.declare_queue(queue, durable=True, arguments=arguments)
    worker = await stage.start_worker(wait=False)
    await stage.until(lambda: worker.process.poll() is not None)
    last = worker.tail(1)
    assert worker.process.returncode == 1
    assert "Traceback" not in worker.log.read_text()
    for word in (f"queue '{queue}'", *named, "delete"):
        assert word in last
    assert last.count("\n") == 0


async def test_quorum_queues_deliver_and_retry(stage: Scene) -> None:
    await stage.start_worker(RABBITMQ_QUEUE_TYPE="quorum")
    await stage.watch()
    to, retried = number(), number("99931500")
    await stage.publish(to)
    await stage.publish(retried)
    letter = await stage.letter(await stage.publish(number("99910131047")))
    assert letter.headers["x-error-type"] == "WINDOW_EXPIRED"
    await stage.accepted(to)
    await stage.accepted(retried)
    async with management(stage.world) as api:
        vhost = stage.url.rsplit("/", 1)[1]
        queues = (await api.get(f"/api/queues/{vhost}")).json()
    assert {queue["type"] for queue in queues if not queue["exclusive"]} == {"quorum"}


async def test_what_waits_on_the_delay_levels_of_an_earlier_release_is_delivered_and_named(stage: Scene) -> None:
    to = number()
    await stage.declare()
    async with await aio_pika.connect(stage.url) as connection:
        channel = await connection.channel()
        for level in range(delays.LEVELS):  # as the earlier release declared them: classic
            beyond = delays.former_level_name(level - 1) if level else delays.DELIVERY_EXCHANGE
            exchange = await channel.declare_exchange(delays.former_level_name(level), "topic", durable=True)
            arguments: Any = {"x-message-ttl": delays.level_ttl_ms(level), "x-dead-letter-exchange": beyond}
            queue = await channel.declare_queue(exchange.name, durable=True, arguments=arguments)
            await queue.bind(exchange, delays.hold_pattern(level))
            await (await channel.get_exchange(beyond, ensure=False)).bind(exchange, delays.pass_pattern(level))
        for level, to_whom, wait_s in ((4, to, 5.0), (11, number(), 600.0)):
            body = orjson.dumps(text_message(to_whom, "acme", f"from-before-{level}"))
            levels = await channel.get_exchange(delays.former_level_name(level), ensure=False)
            await levels.publish(aio_pika.Message(body, delivery_mode=2), delays.route(wait_s, INTAKE_QUEUE)[1])
    worker = await stage.start_worker()
    line = await stage.logged(worker, "former_delay_levels")
    assert line["messages"] in (1, 2)  # the first may be back before a slow start
    await stage.accepted(to)


@pytest.mark.parametrize("lanes", ["0", "2"])
async def test_with_fewer_lanes_than_before_what_is_on_the_others_is_sent_and_comes_back_to_them(
    stage: Scene, lanes: str
) -> None:
    await stage.declare()
    recipients = [number("99931500") for _ in lane_names(DEFAULT_LANES)]  # refused once: then each waits for its retry
    async with await aio_pika.connect(stage.url) as connection:
        exchange = await (await connection.channel()).get_exchange(LANE_EXCHANGE, ensure=False)
        for lane, to in zip(lane_names(DEFAULT_LANES), recipients, strict=True):
            body = orjson.dumps(text_message(to, lane, unique("moved")))
            await exchange.publish(aio_pika.Message(body, delivery_mode=2), lane)
    worker = await stage.start_worker(LANES=lanes, CIRCUIT_FAILURES="0")  # eight failures in a row would open it
    await stage.all_accepted(recipients)
    await stage.settled()
    retried = (await stage.metrics(worker))['messages_retried_total{error_type="META_SERVER_ERROR"}']
    assert retried == len(recipients)


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_what_is_known_is_declared_again_without_a_channel_that_rabbitmq_closes(
    stage: Scene, kind: QueueKind
) -> None:
    opened: list[Any] = []
    async with await aio_pika.connect(stage.url) as connection:
        assert connection.transport is not None
        underlay: Any = connection.transport.connection
        open_channel = underlay.channel

        async def counted(**options: Any) -> Any:
            opened.append(options)
            return await open_channel(**options)

        underlay.channel = counted
        known = await declare(connection, Topology(kind))
        first = len(opened)
        assert await declare(connection, Topology(kind), known=known) == known
        assert (first > 1, len(opened) - first) == (True, 1)
