"""The way in: what is waited for, what is given up with a sentence, what is declared, and how deliveries stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from faststream import AckPolicy
from faststream.rabbit import RabbitBroker
from structlog.testing import capture_logs
from yarl import URL

from stream.broker import connection as broker_connection
from stream.broker import start
from stream.broker.addresses import Addresses
from stream.broker.connection import BrokerConnection
from stream.broker.declaration import DECLARE_TIMEOUT_S, declare
from stream.broker.start import CannotStart
from stream.broker.topology import Topology, exchange_names
from stream.contract import delays
from stream.contract.lanes import lane_name, lane_names
from stream.contract.queues import QueueKind
from tests.unit.doubles import Clock, Sleeps, turns

MISMATCH = (
    "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'outbound-failed' in vhost '/': "
    "received 'true' but current is 'false'"
)
LIMITED = (
    "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'outbound-failed' in vhost '/': "
    "received the value '-1' of type 'byte' but current is none"
)
LANES = 2


class Channel:
    """A channel that notes what is declared on it, and may refuse; a refusal closes it, as a broker does."""

    def __init__(self, refusal: BaseException | None, limited: set[str], former: int | None, former_lanes: int) -> None:
        self.declared: list[tuple[str, ...]] = []
        self.arguments: dict[str, dict[str, Any]] = {}
        self.is_closed = False
        self._refusal = refusal
        self._limited = limited
        self._former = former
        self._former_lanes = {lane_name(number) for number in range(former_lanes)}

    async def exchange_declare(self, name: str, *, exchange_type: str, durable: bool, timeout: float) -> None:  # noqa: ASYNC109 - aiormq's signature
        assert (durable, timeout) == (True, DECLARE_TIMEOUT_S)
        self._note("exchange", name, exchange_type)

    async def queue_declare(
        self,
        name: str,
        *,
        timeout: float,  # noqa: ASYNC109 - aiormq's signature
        durable: bool = False,
        arguments: dict[str, Any] | None = None,
        passive: bool = False,
    ) -> SimpleNamespace:
        assert timeout == DECLARE_TIMEOUT_S
        if passive:
            return self._found(name)
        assert durable
        self.arguments[name] = arguments or {}
        if name in self._limited and "x-delivery-limit" in self.arguments[name]:
            self.is_closed = True
            raise ChannelPreconditionFailed(LIMITED)
        self._note("queue", name)
        return SimpleNamespace(message_count=0)

    def _found(self, name: str) -> SimpleNamespace:
        known = name in self._former_lanes if name.startswith("whatsapp-lane-") else self._former is not None
        if self._refusal is None and not known:
            self.is_closed = True
            raise ChannelNotFoundEntity(f"NOT_FOUND - no queue '{name}'")
        return SimpleNamespace(message_count=self._former)

    async def queue_bind(self, queue: str, exchange: str, pattern: str, *, timeout: float) -> None:  # noqa: ASYNC109 - aiormq's signature
        assert timeout == DECLARE_TIMEOUT_S
        self._note("bind", queue, exchange, pattern)

    async def exchange_bind(self, to: str, source: str, pattern: str, *, timeout: float) -> None:  # noqa: ASYNC109 - aiormq's signature
        assert timeout == DECLARE_TIMEOUT_S
        self._note("bind", to, source, pattern)

    async def exchange_unbind(self, *, destination: str, source: str, routing_key: str, timeout: float) -> None:  # noqa: ASYNC109 - aiormq's signature
        assert (routing_key, timeout) == ("never-bound", DECLARE_TIMEOUT_S)
        self._note("unbind", destination, source)

    async def close(self) -> None:
        self.is_closed = True

    def _note(self, *what: str) -> None:
        if self._refusal is not None:
            self.is_closed = isinstance(self._refusal, ChannelPreconditionFailed | ChannelAccessRefused)
            raise self._refusal
        self.declared.append(what)


class Connection:
    """A connection that opens one channel a declaration, and has the callbacks of a robust one.

    Args:
        version: What the broker says it is.
    """

    def __init__(self, version: str = "3.10.8") -> None:
        self.server_properties = {"version": version}
        self.limited: set[str] = set()  # quorum queues that exist with a delivery limit
        self.former: int | None = None  # messages on each delay level of an earlier release
        self.former_lanes = 0  # lanes that exist
        self.channels: list[Channel] = []
        self.refusal: BaseException | None = None
        self.blocked = False  # short of memory
        self.closed_with: list[BaseException] = []
        self.connected = asyncio.Event()
        self.connected.set()
        self.close_callbacks: set[Callable[[object, BaseException | None], None]] = set()
        self.reconnect_callbacks: set[Callable[[object], Awaitable[None]]] = set()
        self.transport: Any = SimpleNamespace(connection=self)

    async def channel(self, *, publisher_confirms: bool) -> Channel:
        assert not publisher_confirms
        if type(self.refusal) is RuntimeError:  # aiormq's, for a connection that is closed
            raise self.refusal
        self.channels.append(Channel(self.refusal, self.limited, self.former, self.former_lanes))
        return self.channels[-1]

    async def ready(self) -> None:
        if self.blocked:
            await asyncio.Event().wait()

    async def close(self, error: BaseException) -> None:
        self.closed_with.append(error)


class RobustChannel:
    """aio-pika's channel of a subscriber; a reopen puts another of aiormq's in it."""

    def __init__(self, consumers: dict[str, object]) -> None:
        self._consumers = consumers
        self.reopen_callbacks: set[Callable[[Any], Awaitable[None]]] = set()
        self._channel: Any = None
        self.open()

    def open(self) -> None:
        self.underlay = SimpleNamespace(
            consumers=self._consumers, on_consumer_cancel_callbacks=set(), basic_cancel=self._cancel
        )
        self._channel = SimpleNamespace(channel=self.underlay)

    async def _cancel(self, tag: str) -> None:
        del self._consumers[tag]

    async def reopen(self) -> None:
        self.open()
        for callback in self.reopen_callbacks:
            await callback(self)

    async def get_underlay_channel(self) -> Any:
        return self.underlay


class Queue:
    """The queue of a started subscriber: knows its consumer, and cancels it or fails."""

    def __init__(self) -> None:
        self.consumers = {"tag": object()}
        self.channel = RobustChannel(self.consumers)
        self.error: BaseException | None = None
        self.cancelled: list[str] = []

    async def cancel(self, tag: str) -> None:
        self.cancelled.append(tag)
        if self.error is not None:
            raise self.error


class Door:
    """A connection whose broker answers each attempt to connect with the next of `answers`."""

    def __init__(
        self,
        *answers: BaseException,
        kind: QueueKind = "classic",
        version: str = "3.10.8",
        ack_policy: AckPolicy = AckPolicy.MANUAL,
        hosts: str = "a,b",
    ) -> None:
        self.amqp = Connection(version)
        self.queue = Queue()
        self.reachable = True
        self._answers = list(answers)
        self.clock = Clock()
        self.broker = RabbitBroker(logger=None)
        self.subscriber: Any = self.broker.subscriber(Topology(kind).intake.subscribed(), ack_policy=ack_policy)
        vars(self.broker).update(connect=self._connect, ping=self._ping)
        self.addresses = Addresses(f"amqp://{hosts}/%2Fwhatsapp")
        self.connection = BrokerConnection(
            self.broker,
            self.addresses,
            topology=Topology(kind, LANES),
            monotonic=self.clock,
        )

    def consume(self) -> None:
        self.subscriber._queue_obj, self.subscriber._consumer_tag = self.queue, "tag"

    async def _connect(self) -> Connection:
        if self._answers:
            raise self._answers.pop(0)
        return self.amqp

    async def _ping(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - FastStream's signature
        assert timeout is not None
        return self.reachable


def declarations(door: Door) -> list[Channel]:
    """The channels on which the topology was declared, one a declaration; others were closed over a question."""
    return [each for each in door.amqp.channels if each.declared]


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> Sleeps:
    noted = Sleeps()
    monkeypatch.setattr(start, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": noted}))
    return noted


async def test_a_broker_that_is_not_there_yet_is_waited_for(sleeps: Sleeps) -> None:
    errors = [AMQPConnectionError("refused"), OSError("no route"), TimeoutError(), *[OSError("gone") for _ in range(4)]]
    door = Door(*errors)
    with capture_logs() as logs:
        await door.connection.open()
    assert sleeps.asked == [1, 2, 4, 8, 10, 10, 10]
    assert [line["event"] for line in logs] == ["rabbitmq_not_there_yet"] * 7
    assert logs[1]["error"] == "OSError: no route"
    assert len(declarations(door)) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProbableAuthenticationError("ACCESS_REFUSED"), "refuses the login in RABBITMQ_URL"),
        (InvalidFrameError("closed"), "refuses the vhost '/whatsapp' of RABBITMQ_URL"),
    ],
)
async def test_what_waiting_would_not_help_is_given_up_with_a_sentence(
    sleeps: Sleeps, error: BaseException, said: str
) -> None:
    with pytest.raises(CannotStart, match=said):
        await Door(error).connection.open()
    assert sleeps.asked == []


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (ChannelPreconditionFailed(MISMATCH), "^RabbitMQ has queue 'outbound-failed' with durable = 'false'"),
        (ChannelAccessRefused("ACCESS_REFUSED"), "does not let the user of RABBITMQ_URL declare the topology"),
    ],
)
async def test_a_topology_that_cannot_be_declared_is_given_up_with_a_sentence(
    refusal: BaseException, said: str
) -> None:
    door = Door()
    door.amqp.refusal = refusal
    with pytest.raises(CannotStart, match=said):
        await door.connection.open()


@pytest.mark.parametrize("kind", ["classic", "quorum"])
async def test_every_queue_is_declared_with_its_type_and_can_be_reached(kind: QueueKind) -> None:
    door = Door(kind=kind)
    await door.connection.open()
    (channel,) = declarations(door)
    assert channel.is_closed
    exchanges = {name for what, name, *_ in channel.declared if what == "exchange"}
    queues = {name for what, name, *_ in channel.declared if what == "queue"}
    bindings = [rest for what, *rest in channel.declared if what == "bind"]
    assert exchanges == set(exchange_names())
    assert len(queues) == 3 + LANES + delays.LEVELS
    shared = {"outbound-processed", "outbound-failed"}
    assert {name: channel.arguments[name]["x-queue-type"] for name in shared} == dict.fromkeys(shared, kind)
    assert {channel.arguments[name]["x-queue-type"] for name in queues - shared} == {"quorum"}
    assert {to for to, *_ in bindings} >= queues
    assert {source for _, source, _ in bindings} == exchanges  # nothing that is published there falls through
    strategies = {name for name, each in channel.arguments.items() if "x-dead-letter-strategy" in each}
    assert strategies == queues - ({"outbound-failed"} if kind == "quorum" else shared)
    assert not any("x-delivery-limit" in each for each in channel.arguments.values())


@pytest.mark.parametrize(
    ("kind", "unlimited"),
    [("classic", {"whatsapp-due"}), ("quorum", {"outbound-processed", "outbound-failed", "whatsapp-due"})],
)
async def test_quorum_queues_that_are_looked_at_have_no_delivery_limit_where_the_broker_has_one(
    kind: QueueKind, unlimited: set[str]
) -> None:
    door = Door(kind=kind, version="4.3.6")
    due: Any = door.broker.subscriber(Topology().due.subscribed(), ack_policy=AckPolicy.MANUAL)
    await door.connection.open()
    (channel,) = declarations(door)
    limits = {name: each.get("x-delivery-limit") for name, each in channel.arguments.items()}
    assert {name for name, limit in limits.items() if limit == -1} == {*unlimited, *lane_names(LANES)}
    # FastStream declares what it consumes once more.
    assert door.subscriber.queue.arguments.get("x-delivery-limit") == limits["outbound-processed"]
    assert due.queue.arguments["x-delivery-limit"] == -1


@pytest.mark.parametrize("limited", ["outbound-processed", "outbound-failed"])
async def test_a_queue_that_exists_with_a_delivery_limit_is_used_and_named(limited: str) -> None:
    door = Door(kind="quorum", version="4.3.6")
    door.amqp.limited = {limited}
    with capture_logs() as logs:
        await door.connection.open()
    assert [(line["event"], line["queues"]) for line in logs] == [("delivery_limit", [limited])]
    assert ("x-delivery-limit" in door.subscriber.queue.arguments) == (limited != "outbound-processed")
    declared = {name for channel in door.amqp.channels for what, name, *_ in channel.declared if what == "queue"}
    assert len(declared) == 3 + LANES + delays.LEVELS


@pytest.mark.parametrize(("former", "told"), [(None, []), (0, [0]), (3, [3 * delays.LEVELS])])
async def test_delay_levels_of_an_earlier_release_are_named_with_what_waits_there(
    former: int | None, told: list[int]
) -> None:
    door = Door()
    door.amqp.former = former
    with capture_logs() as logs:
        await door.connection.open()
    assert [line["messages"] for line in logs if line["event"] == "former_delay_levels"] == told


async def test_lanes_of_a_start_with_more_of_them_are_declared_and_consumed_too() -> None:
    door = Door(version="4.3.6")
    door.amqp.former_lanes = 5
    await door.connection.open()
    assert [lane.name for lane in door.connection.lanes] == list(lane_names(5))
    assert {lane.arguments["x-delivery-limit"] for lane in door.connection.lanes} == {-1}
    declared = {name for channel in door.amqp.channels for what, name, *_ in channel.declared if what == "queue"}
    assert declared >= set(lane_names(5))


@pytest.mark.parametrize(
    "refusal",
    [
        None,
        AMQPError("closed"),
        OSError("gone"),
        ChannelInvalidStateError("x"),
        RuntimeError("closed"),
        Exception(),
    ],
    ids=repr,
)
async def test_a_broker_that_comes_back_is_declared_to_again_until_it_takes_it(
    monkeypatch: pytest.MonkeyPatch, refusal: BaseException | None
) -> None:
    door = Door()
    await door.connection.open()

    async def well_again(_seconds: float) -> None:
        door.amqp.refusal = None

    monkeypatch.setattr(start, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": well_again}))
    door.amqp.refusal = refusal
    (again,) = door.amqp.reconnect_callbacks
    with capture_logs() as logs:
        await again(None)
        assert door.connection._declaring is not None
        await door.connection._declaring
    assert [line["event"] for line in logs] == ["rabbitmq_back", *(["rabbitmq_not_there_yet"] if refusal else [])]
    first, last = declarations(door)
    assert last.declared == first.declared
    assert last.is_closed


@pytest.mark.parametrize("policy", [policy for policy in AckPolicy if policy is not AckPolicy.MANUAL])
async def test_a_subscriber_that_would_acknowledge_by_itself_stops_the_start(policy: AckPolicy) -> None:
    with pytest.raises(CannotStart, match="not MANUAL"):
        await Door(ack_policy=policy).connection.open()


async def test_a_topology_that_is_refused_after_a_reconnect_is_logged() -> None:
    door = Door()
    await door.connection.open()
    door.amqp.refusal = ChannelAccessRefused("no")
    (again,) = door.amqp.reconnect_callbacks
    with capture_logs() as logs:
        await again(None)
        assert door.connection._declaring is not None
        await door.connection._declaring
    assert [line["event"] for line in logs] == ["rabbitmq_back", "topology_not_declared"]


async def test_what_is_missing_is_declared_once_for_all_who_find_that_and_never_in_a_stop() -> None:
    door = Door()
    await door.connection.open()
    with capture_logs() as logs:
        for _ in range(3):
            door.connection.mend()
        assert door.connection._declaring is not None
        await door.connection._declaring
        first, last = declarations(door)
        assert last.declared == first.declared
        await door.connection.stop_deliveries()
        door.connection.mend()
    assert [line["event"] for line in logs] == ["topology_incomplete"]
    assert len(declarations(door)) == 2


async def test_the_topology_is_declared_again_and_again_while_it_consumes(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    rounds = iter(range(3))

    async def passed(_seconds: float) -> None:
        await turns()  # for what the round before began
        if next(rounds, None) is None:
            raise asyncio.CancelledError

    monkeypatch.setattr(broker_connection, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": passed}))
    await door.connection.open()
    door.consume()
    door.queue.channel.open()
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await door.connection.watch_topology()
    assert len(declarations(door)) == 1 + 3
    assert logs == []
    assert door.connection.consuming


@pytest.mark.parametrize("end", ["lost", "stop"])
async def test_a_connection_that_is_lost_and_a_stop_end_the_declaring(end: str) -> None:
    door = Door()
    await door.connection.open()
    door.amqp.refusal = OSError("not well")
    (again,), (lost,) = door.amqp.reconnect_callbacks, door.amqp.close_callbacks
    await again(None)
    task = door.connection._declaring
    assert task is not None
    lost(None, OSError("reset")) if end == "lost" else await door.connection.stop_deliveries()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()


async def test_a_connection_without_a_consumer_is_stuck_and_a_broker_that_is_away_is_not() -> None:
    door = Door()
    told = [door.connection.stuck_s()]  # not connected yet
    await door.connection.open()
    told.append(door.connection.stuck_s())
    door.clock.now += 90
    told.append(door.connection.stuck_s())
    door.consume()
    told.append(door.connection.stuck_s())
    door.queue.consumers.clear()
    told.append(door.connection.stuck_s())
    door.clock.now += 30
    told.append(door.connection.stuck_s())
    door.amqp.connected.clear()
    told.append(door.connection.stuck_s())
    assert told == [0, 0, 90, 0, 0, 30, 0]


@pytest.mark.parametrize(
    ("hosts", "blocked", "left"),
    [("a,b", False, 1), ("a", False, 0), ("a,b", True, 0)],
    ids=["several addresses", "one address", "short of memory"],
)
async def test_a_node_that_answers_no_declaration_is_not_consumed_from_and_left_the_second_time_if_there_are_others(
    monkeypatch: pytest.MonkeyPatch, hosts: str, *, blocked: bool, left: int
) -> None:
    door = Door(hosts=hosts)
    await door.connection.open()
    door.consume()
    seen: list[tuple[bool, float, int]] = []

    async def after_an_attempt(_seconds: float) -> None:
        seen.append((door.connection.consuming, door.connection.stuck_s(), len(door.amqp.closed_with)))
        await turns()  # for what closes the connection
        if len(seen) > 2:
            door.amqp.refusal = None

    monkeypatch.setattr(start, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": after_an_attempt}))
    door.amqp.refusal, door.amqp.blocked = TimeoutError(), blocked
    await door.connection._redeclare()
    assert seen == [(False, 0, 0), (False, 0, 0), (False, 0, left)]  # a restart of the process would not help
    assert door.connection.consuming


@pytest.mark.parametrize("stays", ["", "at home", "home is silent", "stopping", "came home meanwhile"])
async def test_a_worker_that_is_away_finishes_and_goes_home_once_that_answers(
    monkeypatch: pytest.MonkeyPatch, stays: str
) -> None:
    door = Door()
    home, away = (door.addresses.url.with_host(host) for host in ("home", "away"))
    door.addresses.current = home
    await door.connection.open()
    door.consume()
    door.addresses.current = home if stays == "at home" else away
    looks, asked, finished = 0, list[URL](), list[bool]()

    async def look_once(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise asyncio.CancelledError

    async def answers(where: URL, *_: object) -> bool:
        asked.append(where)
        if stays == "came home meanwhile":
            door.addresses.current = home
        return stays != "home is silent"

    async def finish() -> None:
        finished.append(door.connection.consuming)
        if stays == "stopping":
            await door.connection.stop_deliveries()

    monkeypatch.setattr(broker_connection, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": look_once}))
    monkeypatch.setattr(broker_connection, "answers", answers)
    with pytest.raises(asyncio.CancelledError):
        await door.connection.watch_home(finish)
    await turns()
    assert asked == ([] if stays == "at home" else [home])
    assert (door.addresses._next() == home) == (not stays)
    assert finished == ([False] if stays in {"", "stopping"} else [])
    assert [str(error) for error in door.amqp.closed_with] == (
        [] if stays else ["left for the address at which it began, which answers again"]
    )
    assert door.subscriber._consumer_tag == (
        None if stays == "stopping" else "tag"
    )  # aio-pika subscribes with it again


async def test_a_connection_that_is_not_open_declares_nothing() -> None:
    connection = Connection()
    connection.transport = None
    with pytest.raises(ConnectionError, match="not open"):
        await declare(cast("Any", connection), Topology())


async def test_a_connection_that_is_lost_is_logged_unless_it_is_let_go() -> None:
    door = Door()
    await door.connection.open()
    (lost,) = door.amqp.close_callbacks
    with capture_logs() as logs:
        lost(None, OSError("reset"))
        lost(None, asyncio.CancelledError())  # aiormq's, for a node that has fallen silent
        await door.connection.stop_deliveries()
        lost(None, None)
    assert [(line["event"], line["error"].partition(":")[0]) for line in logs] == [
        ("rabbitmq_lost", "OSError"),
        ("rabbitmq_lost", "nothing came for three heartbeats"),
    ]


async def test_it_is_consuming_only_while_connected_subscribed_known_to_the_broker_and_not_stopping() -> None:
    door = Door()
    told = [door.connection.consuming]
    await door.connection.open()
    told.append(door.connection.consuming)
    door.consume()
    assert door.connection.consuming
    door.amqp.connected.clear()
    told.append(door.connection.consuming)
    door.amqp.connected.set()
    tag = door.queue.consumers.pop("tag")
    told.append(door.connection.consuming)  # the broker has cancelled the consumer; the tag stays behind
    door.queue.consumers["tag"] = tag
    assert door.connection.consuming
    door.queue.channel._channel = None
    told.append(door.connection.consuming)
    await door.connection.stop_deliveries()
    told.append(door.connection.consuming)
    assert not any(told)


async def test_a_channel_whose_consumer_the_broker_cancels_is_abandoned_and_all_declared_again_but_not_in_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = Door()
    await door.connection.open()
    await door.connection.watch_consumers()  # not subscribed: nothing to watch
    door.consume()
    abandoned: list[object] = []

    async def abandon(channel: object) -> None:
        abandoned.append(channel)

    monkeypatch.setattr(broker_connection, "abandon", abandon)
    await door.connection.watch_consumers()
    first = door.queue.channel.underlay
    await door.queue.channel.reopen()
    second = door.queue.channel.underlay
    with capture_logs() as logs:
        for underlay in (first, second):
            (cancelled,) = underlay.on_consumer_cancel_callbacks
            await cancelled(None)
            assert door.connection._declaring is not None
            await door.connection._declaring  # the queue may have been deleted, and its bindings with it
        await door.connection.stop_deliveries()
        await cancelled(None)
    assert abandoned == [first, second]
    assert len(declarations(door)) == 3
    assert [line["event"] for line in logs] == ["consumer_cancelled_by_rabbitmq"] * 2


async def test_a_stop_cancels_the_consumer_once() -> None:
    door = Door()
    door.consume()
    await door.connection.stop_deliveries()
    await door.connection.stop_deliveries()
    assert door.queue.cancelled == ["tag"]
    assert door.subscriber._consumer_tag is None


async def test_a_connection_is_let_go_whatever_it_says_to_that(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    await door.connection.close()  # never connected: nothing to let go
    await door.connection.open()
    monkeypatch.setattr(broker_connection, "CLOSE_TIMEOUT_S", 0.01)
    closed: list[str] = []

    async def in_time() -> None:
        closed.append("in time")

    async def refused() -> None:
        closed.append("refused")
        raise AMQPError("x")

    async def unanswered() -> None:
        closed.append("unanswered")
        await asyncio.Event().wait()

    for close in (in_time, refused, unanswered):
        vars(door.amqp)["close"] = close
        await door.connection.close()
    assert closed == ["in time", "refused", "unanswered"]


async def test_a_stop_asks_nothing_of_a_broker_that_is_away() -> None:
    door = Door()
    door.consume()
    door.reachable = False
    await door.connection.stop_deliveries()
    assert door.queue.cancelled == []


@pytest.mark.parametrize("error", [AMQPError("x"), ChannelInvalidStateError("x"), OSError("x"), TimeoutError("x")])
async def test_a_stop_goes_on_when_the_consumer_cannot_be_cancelled(error: Exception) -> None:
    door = Door()
    door.consume()
    door.queue.error = error
    with capture_logs() as logs:
        await door.connection.stop_deliveries()
    assert [line["error"] for line in logs] == [f"{type(error).__name__}: x"]


async def test_a_stop_goes_on_when_the_connection_dies_under_it() -> None:
    door = Door()
    door.consume()
    door.queue.error = asyncio.CancelledError()
    await door.connection.stop_deliveries()
    assert door.queue.cancelled == ["tag"]


async def test_a_stop_that_is_really_cancelled_ends() -> None:
    door = Door()
    door.consume()
    asked = asyncio.Event()

    async def cancel(tag: str) -> None:
        assert tag == "tag"
        asked.set()
        await asyncio.Event().wait()

    door.queue.cancel = cancel  # type: ignore[method-assign]
    stop = asyncio.create_task(door.connection.stop_deliveries())
    await asked.wait()
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
