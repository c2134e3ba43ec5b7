"""A copy of a message: exactly one, in exactly one place, and the same bit for bit."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import orjson
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import ChannelNotFoundEntity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp.commands import Basic

from sandbox.broker import Outside
from stream.broker import properties as wire
from stream.broker.connection import DECLARE_EVERY_S
from stream.broker.handover import Handover
from stream.broker.republish import final_copy, waiting_copy
from stream.broker.wire import ArrivedHeaders
from stream.contract import delays
from stream.contract.queues import (
    DEAD_LETTER_EXCHANGE,
    DEAD_LETTER_KEY,
    DEAD_LETTER_QUEUE,
    INTAKE_EXCHANGE,
    INTAKE_QUEUE,
)
from tests.forwarder import Forwarder
from tests.scene import Scene, number, text_message

FAILS_ALWAYS = "99939500"  # HTTP 500 each time
ONE_RETRY = {"META_API_RETRY_DELAY_MS": "100", "META_API_MAX_RETRIES": "1"}


async def depth(stage: Scene) -> int | None:
    """Letters in the dead-letter queue; `None` when it is not there."""
    try:
        async with Outside(stage.url) as outside:  # its channel ends with a queue that is not there
            return await outside.count(DEAD_LETTER_QUEUE)
    except ChannelNotFoundEntity:
        return None


async def exists(stage: Scene, exchange: str) -> bool:
    """Whether an exchange is there."""
    channel = await stage._connection.channel()
    underlay = await channel.get_underlay_channel()
    try:
        await underlay.exchange_declare(exchange, passive=True)
    except ChannelNotFoundEntity:
        return False
    await channel.close()
    return True


async def test_a_letter_that_no_queue_takes_is_not_acknowledged_whatever_its_id(stage: Scene) -> None:
    worker = await stage.start_worker()
    channel = await stage._connection.channel()
    await channel.queue_delete(DEAD_LETTER_QUEUE)
    assert await depth(stage) is None
    bodies = [f'{{"not": "a message", "number": {each}}}'.encode() for each in range(6)]
    for body in bodies:
        await stage.outside.publish(body, message_id="one-id-for-all")
    # The first of them finds no queue, and has it declared again; before that, none may be taken for published.
    await stage.logged(worker, "topology_incomplete")
    await stage.logged(worker, "dead_lettered")
    await stage.watch()
    await stage.until(lambda: {letter.body for letter in stage.letters} == set(bodies), 20, "6 letters")
    await stage.settled()


@pytest.mark.parametrize("part", ["delay queue", "delay exchange", "dead letter queue", "dead letter exchange"])
async def test_what_somebody_deletes_is_there_again_and_costs_no_try(stage: Scene, part: str) -> None:
    worker = await stage.start_worker(**ONE_RETRY)  # type: ignore[arg-type]
    channel = await stage._connection.channel()
    match part:
        case "delay queue":
            for level in range(delays.LEVELS):
                await channel.queue_delete(delays.level_name(level))
        case "delay exchange":
            for level in range(delays.LEVELS):
                await channel.exchange_delete(delays.level_name(level))
        case "dead letter queue":
            await channel.queue_delete(DEAD_LETTER_QUEUE)
        case _:
            await channel.exchange_delete(DEAD_LETTER_EXCHANGE)
    to = number(FAILS_ALWAYS)
    internal_id = await stage.publish(to)
    await stage.logged(worker, "topology_incomplete")
    await stage.logged(worker, "dead_lettered", 20, internalId=internal_id)
    assert len(stage.graph.by_recipient(to)) == 2
    assert await depth(stage) == 1
    await stage.settled()


async def test_what_a_wait_passes_on_its_way_back_is_there_again_too(stage: Scene) -> None:
    await stage.start_worker()
    channel = await stage._connection.channel()
    parts = (delays.DELIVERY_EXCHANGE, delays.level_name(0), delays.level_name(2))
    for part in parts:
        await channel.exchange_delete(part)
    async with asyncio.timeout(2 * DECLARE_EVERY_S):
        while not all([await exists(stage, part) for part in parts]):  # noqa: ASYNC110 - RabbitMQ tells nobody
            await asyncio.sleep(0.5)


async def test_a_connection_that_is_cut_before_a_wait_is_published_costs_nothing_twice(stage: Scene) -> None:
    await stage.declare()
    await stage.watch()
    there = urlsplit(stage.url)
    async with Forwarder(there.port or 5672) as forwarder:
        name = there._replace(netloc=f"{there.username}:{there.password}@127.0.0.1:{forwarder.port}")
        await stage.start_worker(RABBITMQ_URL=urlunsplit(name), META_API_RETRY_DELAY_MS="100")
        to = number(FAILS_ALWAYS)
        forwarder.cut_before(b"whatsapp-wait-", times=3)
        internal_id = await stage.publish(to)
        await stage.letter(internal_id, seconds=40)
        await stage.settled(20)
    assert forwarder.cuts == 3
    assert len(stage.graph.by_recipient(to)) == 4
    assert len(stage.letters_of(internal_id)) == 1


# --- bit for bit --------------------------------------------------------------------------------------------------


def _of(kind: bytes) -> Callable[[bytes], bytes]:
    return lambda content: kind + content


def _measured(kind: bytes) -> Callable[[bytes], bytes]:
    return lambda content: kind + struct.pack(">I", len(content)) + content


_INTEGERS = {b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"D": 5}
# RabbitMQ reads a float's bits as a number: an infinity or a NaN would close the connection of whoever publishes it.
_DOUBLES = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: b"d" + struct.pack(">d", number))
_FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda one: b"f" + struct.pack(">f", one))
_BOOLEANS = st.booleans().map(lambda yes: b"t" + bytes([yes]))
_NUMBERS = [st.binary(min_size=size, max_size=size).map(_of(kind)) for kind, size in _INTEGERS.items()]
_TIMES = st.integers(0, 253_402_300_799_000).map(lambda moment: b"T" + struct.pack(">Q", moment))
_SCALARS = st.one_of(
    *_NUMBERS,
    _DOUBLES,
    _FLOATS,
    _BOOLEANS,
    _TIMES,
    st.just(b"V"),
    st.binary(max_size=40).map(_measured(b"S")),
    st.binary(max_size=40).map(_measured(b"x")),
)
_NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20).map(
    lambda name: b"h-" + name.encode()
)


def _table(entries: dict[bytes, bytes]) -> bytes:
    return b"F" + wire.join_table(entries)


_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: _measured(b"A")(b"".join(items))),
        st.dictionaries(_NAMES, inner, max_size=4).map(_table),
    ),
    max_leaves=12,
)


class Raw(Basic.Properties):
    """Properties that are written as a test has put them together."""

    def __init__(self, values: dict[str, bytes]) -> None:
        super().__init__(message_id="m")
        self.values = {"message_id": b"\x01m", **values}

    def marshal(self) -> bytes:
        return wire.join(self.values)


def arrived(incoming: AbstractIncomingMessage) -> tuple[dict[str, bytes], dict[bytes, bytes]]:
    """A message's properties and headers as they stood on the wire."""
    headers = incoming.headers
    assert isinstance(headers, ArrivedHeaders)
    values = wire.split(headers.flags, headers.data)
    return values, wire.split_table(values.pop("headers", b"\0\0\0\0"))


class Trip:
    """The way of a message through a wait and into the dead letters, on a real broker, with the worker's own copies."""

    def __init__(self, intake: aio_pika.abc.AbstractQueue, failed: aio_pika.abc.AbstractQueue) -> None:
        self._intake = intake
        self._failed = failed
        self._hand = Handover()

    async def make(self, values: dict[str, bytes]) -> AbstractIncomingMessage:
        channel = await self._intake.channel.get_underlay_channel()
        await channel.basic_publish(b"body", routing_key=INTAKE_QUEUE, properties=Raw(values))
        first = await _get(self._intake)
        level, key = delays.route(0.25, INTAKE_QUEUE)
        await self._hand.publish(first, waiting_copy(first, {}), exchange=level, routing_key=key)
        await first.ack()
        second = await _get(self._intake)
        copy = final_copy(second, {"x-error-type": "A"})
        await self._hand.publish(second, copy, exchange=DEAD_LETTER_EXCHANGE, routing_key=DEAD_LETTER_KEY)
        await second.ack()
        letter = await _get(self._failed)
        await letter.ack()
        return letter


async def _get(queue: aio_pika.abc.AbstractQueue) -> AbstractIncomingMessage:
    async with asyncio.timeout(10):
        while (found := await queue.get(fail=False)) is None:  # noqa: ASYNC110 - the broker says nothing by itself
            await asyncio.sleep(0.02)
    return found


async def test_every_kind_of_header_survives_a_wait_and_a_dead_letter_bit_for_bit(stage: Scene) -> None:
    await stage.declare()
    channel = await stage._connection.channel()
    trip = Trip(await channel.get_queue(INTAKE_QUEUE), await channel.get_queue(DEAD_LETTER_QUEUE))
    loop = asyncio.get_running_loop()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        headers=st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=25),
        timestamp=st.integers(0, 253_402_300_799_000),
        priority=st.integers(0, 255),
    )
    def travel(headers: dict[bytes, bytes], timestamp: int, priority: int) -> None:
        given_values = {
            "content_type": b"\x0atext/plain",
            "priority": bytes([priority]),
            "timestamp": struct.pack(">Q", timestamp),
            "app_id": b"\x02up",
        }
        trip_of = trip.make({**given_values, "headers": wire.join_table(headers)})
        values, table = arrived(asyncio.run_coroutine_threadsafe(trip_of, loop).result(30))
        assert given_values.items() <= values.items()
        assert {name: table.get(name) for name in headers} == headers

    await asyncio.to_thread(travel)


async def test_the_values_that_were_once_changed_arrive_as_they_were(stage: Scene) -> None:
    await stage.start_worker(**ONE_RETRY)  # type: ignore[arg-type]
    await stage.watch()
    headers = {
        b"a-double": b"d" + struct.pack(">d", 1732460000.123),
        b"not-utf-8": b"S\0\0\0\x02\xff\xfe",
        b"a-time-in-ms": b"T" + struct.pack(">Q", 1_732_460_000_123),
    }
    message = orjson.dumps(text_message(number(FAILS_ALWAYS), "acme", "as-it-was"))
    channel = await (await stage._connection.channel()).get_underlay_channel()
    values = {"headers": wire.join_table(headers), "timestamp": struct.pack(">Q", 1_732_460_000_123)}
    await channel.basic_publish(message, routing_key=INTAKE_QUEUE, properties=Raw(values))
    letter = await stage.letter("as-it-was", seconds=30)
    arrived_values, table = arrived(letter)
    assert letter.headers["x-attempts"] == 2
    assert arrived_values["timestamp"] == values["timestamp"]
    assert {name: table[name] for name in headers} == headers


class _Key(str):
    """A routing key that is no text."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return b"outbound.processed.\xff\xfe"


async def test_a_routing_key_that_is_no_text_stops_nobody_and_is_kept(stage: Scene) -> None:
    await stage.start_worker(**ONE_RETRY)  # type: ignore[arg-type]
    await stage.watch()
    message = orjson.dumps(text_message(number(FAILS_ALWAYS), "acme", "no-text"))
    channel = await (await stage._connection.channel()).get_underlay_channel()
    await channel.basic_publish(message, exchange=INTAKE_EXCHANGE, routing_key=_Key("outbound.processed.any"))
    letter = await stage.letter("no-text", seconds=30)
    assert letter.headers["x-attempts"] == 2
    assert letter.headers["x-original-routing-key"] == b"outbound.processed.\xff\xfe"
