"""A stage for one vhost: publish, start and stop workers, and wait for what must happen."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
import orjson
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from sandbox.broker import Outside, connect
from sandbox.graph import GraphSimulator
from sandbox.network import HERE
from sandbox.records import Recorded
from sandbox.tenants import TenantService
from sandbox.worker import ROOT, WorkerProcess
from sandbox.world import World
from stream.broker.declaration import declare
from stream.broker.topology import Topology
from stream.broker.wire import guard_deliveries
from stream.contract.queues import DEAD_LETTER_QUEUE, INTAKE_EXCHANGE, INTAKE_QUEUE, QueueKind

POLL_S = 0.02
_numbers = itertools.count(1)


def number(prefix: str = "1650555") -> str:
    """A recipient that no other test has; a prefix of `sandbox.numbers` scripts what happens."""
    to = f"{prefix}{next(_numbers):05d}"
    Evidence.recipients.add(to)
    return to


class Evidence:
    """Everything that the run's workers wrote, and what must not be in it: tokens, keys, passwords, full numbers."""

    recipients: ClassVar[set[str]] = set()
    secrets: ClassVar[set[str]] = set()
    graphs: ClassVar[set[GraphSimulator]] = set()
    logs: ClassVar[list[Path]] = []
    texts: ClassVar[list[str]] = []  # headers of dead letters, and events

    @classmethod
    def check(cls) -> None:
        """Fail if a secret is in anything, or a recipient's number in a log."""
        logs = "\n".join(path.read_text() for path in cls.logs if path.exists())
        everything = "\n".join([logs, *cls.texts])
        tokens = {request.token for graph in cls.graphs for request in graph.requests if request.token}
        assert not cls.logs or logs
        starts = {secret[:4] for secret in {*cls.secrets, *tokens}}  # of all tokens one, and a search takes a second
        there = tuple(start for start in starts if start in everything)
        suspects = [secret for secret in {*cls.secrets, *tokens} if secret.startswith(there)]
        assert [secret[:4] + "…" for secret in suspects if secret in everything] == []
        digits = "\n".join(set(re.findall(r"\d{5,}", logs)))  # a search of all logs for each number would take minutes
        assert [to for to in cls.recipients if to.removeprefix("+") in digits] == []


def unique(name: str) -> str:
    """A tenant or id that no other test has."""
    return f"{name}-{next(_numbers)}"


def text_message(to: str, tenant: str, internal_id: str, body: str = "Hello") -> dict[str, Any]:
    """A message as upstream makes it."""
    return {
        "metadata": {"tenantId": tenant, "phoneNumberId": "100000001", "internalId": internal_id},
        "wabaPayload": {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": to,
            "type": "text",
            "text": {"body": body},
        },
    }


class Scene:
    """Use `Scene.on` or `Scene.on_new_vhost`."""

    def __init__(
        self, world: World, settings: Mapping[str, str], graph: GraphSimulator, tenants: TenantService, url: str
    ) -> None:
        self.world = world
        self.graph = graph
        self.tenants = tenants
        self.url = url
        self.settings = {**settings, "RABBITMQ_URL": url}
        self.code, self.place = ROOT, HERE  # of the workers that are started next
        self.workers: list[WorkerProcess] = []
        self.letters: list[AbstractIncomingMessage] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.news: list[AbstractIncomingMessage] = []  # the events as they came
        self.outside = Outside(url)
        Evidence.graphs.add(graph)
        Evidence.secrets.add(world.rabbitmq.password)
        Evidence.secrets |= {settings["TENANT_SERVICE_TOKEN"], settings["CREDENTIAL_CACHE_KEYS"]}
        guard_deliveries()  # the watcher reads the same odd messages
        self._connection: AbstractRobustConnection

    @classmethod
    @asynccontextmanager
    async def on(
        cls, world: World, settings: Mapping[str, str], graph: GraphSimulator, tenants: TenantService, url: str
    ) -> AsyncIterator[Self]:
        """A stage on an existing vhost."""
        stage = cls(world, settings, graph, tenants, url)
        async with stage.outside:
            stage._connection = await connect(url)
            try:
                yield stage
            finally:
                await stage._connection.close()
                for worker in stage.workers:
                    await asyncio.to_thread(worker.kill)

    @classmethod
    @asynccontextmanager
    async def on_new_vhost(
        cls, world: World, settings: Mapping[str, str], graph: GraphSimulator, tenants: TenantService
    ) -> AsyncIterator[Self]:
        """A stage on a vhost that is made for it and removed again."""
        name = unique("stage")
        path = f"/api/vhosts/{quote(name, safe='')}"
        async with management(world) as api:
            (await api.put(path)).raise_for_status()
            everything = {"configure": ".*", "write": ".*", "read": ".*"}
            user = quote(world.rabbitmq.username, safe="")
            (await api.put(f"/api/permissions/{quote(name, safe='')}/{user}", json=everything)).raise_for_status()
            try:
                url = urlunsplit(urlsplit(world.rabbitmq.url)._replace(path=f"/{name}"))
                async with cls.on(world, settings, graph, tenants, url) as stage:
                    yield stage
            finally:
                with suppress(httpx.TransportError):  # whether it goes is no part of any promise: nobody uses it again
                    await api.delete(path)

    async def declare(self, kind: QueueKind = "classic", intake: str = INTAKE_QUEUE) -> None:
        """Declare the topology without a worker."""
        await declare(self._connection, Topology(kind, intake_name=intake))

    async def start_worker(self, name: str = "worker", *, wait: bool = True, **settings: str) -> WorkerProcess:
        """Start a replica."""
        log = self.world.base_dir / f"{unique(name)}.log"
        Evidence.logs.append(log)
        worker = WorkerProcess({**self.settings, **settings}, log, self.code, self.place)
        self.workers.append(worker)
        await asyncio.to_thread(worker.start, wait=wait)
        return worker

    async def stop_worker(self, worker: WorkerProcess) -> int:
        """SIGTERM and wait; returns the exit code."""
        return await asyncio.to_thread(worker.stop)

    async def watch(self) -> None:
        """Collect dead letters and events from now on."""
        channel = await self._connection.channel()
        letters = await channel.get_queue(DEAD_LETTER_QUEUE)
        await letters.consume(self._take_letter, no_ack=True)
        news = await channel.declare_queue(exclusive=True)
        for pattern in ("outbound.sent.#", "outbound.alert.#"):
            await news.bind(INTAKE_EXCHANGE, pattern)
        await news.consume(self._take_event, no_ack=True)

    async def _take_letter(self, letter: AbstractIncomingMessage) -> None:
        self.letters.append(letter)
        Evidence.texts.append(repr(letter.headers))

    async def _take_event(self, event: AbstractIncomingMessage) -> None:
        Evidence.texts.append(event.body.decode())
        self.news.append(event)
        self.events.append((event.routing_key or "", orjson.loads(event.body)))

    async def publish(
        self,
        to: str,
        tenant: str = "acme",
        *,
        internal_id: str | None = None,
        payload: dict[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        **properties: Any,
    ) -> str:
        """Publish a text message, or another payload; returns its internal id."""
        internal_id = internal_id or unique("id")
        message = text_message(to, tenant, internal_id)
        if payload is not None:
            message["wabaPayload"] = payload
        await self.outside.publish(orjson.dumps(message), tenant, headers=headers, **properties)
        return internal_id

    async def send(self, message: dict[str, Any], routing_word: str = "any") -> None:
        """Publish a message as it is, with a routing key that does not name its tenant."""
        await self.outside.publish(orjson.dumps(message), routing_word)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0, what: str = "") -> None:
        """Wait for a condition, at most `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                tails = "\n".join(worker.tail(5) for worker in self.workers)
                raise AssertionError(f"not within {seconds:g} s: {what or condition}\n{tails}")
            await asyncio.sleep(POLL_S)

    async def until_async(self, count: Callable[[], Awaitable[int]], wanted: int, seconds: float = 10.0) -> None:
        """Wait until something that is asked for is so many."""
        deadline = time.monotonic() + seconds
        while (found := await count()) != wanted:
            assert time.monotonic() < deadline, f"{found}, not {wanted}"
            await asyncio.sleep(POLL_S)

    async def accepted(self, to: str, seconds: float = 10.0) -> Recorded:
        """The request that the Graph simulator took for a recipient."""
        await self.until(lambda: self.taken(to), seconds, f"a message for {to} accepted")
        return self.taken(to)[0]

    def taken(self, to: str) -> list[Recorded]:
        """Requests for a recipient that the Graph simulator took."""
        return [request for request in self.graph.by_recipient(to) if request.wamid is not None]

    async def letter(self, internal_id: str, seconds: float = 10.0) -> AbstractIncomingMessage:
        """The dead letter of a message, found by its own content."""
        await self.until(lambda: self.letters_of(internal_id), seconds, f"a dead letter of {internal_id}")
        return self.letters_of(internal_id)[0]

    def letters_of(self, internal_id: str) -> list[AbstractIncomingMessage]:
        """Dead letters whose body names this internal id."""
        return [letter for letter in self.letters if f'"{internal_id}"'.encode() in letter.body]

    async def event(self, routing_key: str, internal_id: str, seconds: float = 10.0) -> dict[str, Any]:
        """An event of a message."""

        def found() -> list[dict[str, Any]]:
            return [body for key, body in self.events if key == routing_key and body["internalId"] == internal_id]

        await self.until(found, seconds, f"{routing_key} for {internal_id}")
        return found()[0]

    async def logged(self, worker: WorkerProcess, event: str, seconds: float = 10.0, **fields: Any) -> dict[str, Any]:
        """A log line of a worker."""

        def found() -> list[dict[str, Any]]:
            lines = (line for line in worker.lines() if line.get("event") == event)
            return [line for line in lines if all(line.get(key) == value for key, value in fields.items())]

        await self.until(found, seconds, f"{event} {fields} in the log")
        return found()[0]

    async def metrics(self, worker: WorkerProcess) -> dict[str, float]:
        """A worker's metrics by name and labels."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{worker.host}:{worker.port}/metrics")).text
        lines = (line.rsplit(" ", 1) for line in text.rstrip("\n").split("\n") if line[0] != "#")
        Evidence.texts.append(text)
        return {name: float(value) for name, value in lines}

    def accepted_of(self, recipients: Iterable[str]) -> list[int]:
        """How often each recipient's message was accepted."""
        return [len(self.taken(to)) for to in recipients]

    async def all_accepted(self, recipients: Sequence[str], seconds: float = 30.0) -> None:
        """Wait until every recipient has its message."""
        await self.until(lambda: all(self.accepted_of(recipients)), seconds, "all messages accepted")

    async def settled(self, seconds: float = 10.0) -> None:
        """Wait until nothing is on the intake queue, and nothing waits."""
        await self.settled_to(waiting=0, seconds=seconds)

    async def settled_to(self, waiting: int, seconds: float = 10.0) -> None:
        """Wait until the intake queue is empty and this many messages wait on the delay levels."""
        deadline = time.monotonic() + seconds
        while (left := await self._left()) != (0, waiting):
            assert time.monotonic() < deadline, f"on the queue, waiting: {left}"
            await asyncio.sleep(POLL_S)

    async def _left(self) -> tuple[int, int] | None:
        """On the intake, and waiting; `None` while our own connection is not back yet."""
        try:
            return await self.outside.intake(), await self.outside.waiting()
        except (AMQPError, ChannelInvalidStateError, OSError):
            return None


@asynccontextmanager
async def management(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """RabbitMQ's management API.

    Each request has its own connection: RabbitMQ closes one that was idle for five seconds, perhaps just as the next
    request leaves.
    """
    auth = (world.rabbitmq.username, world.rabbitmq.password)
    fresh = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=world.rabbitmq.management_url, auth=auth, timeout=10, limits=fresh) as client:
        yield client
