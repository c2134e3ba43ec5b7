"""Stand-ins that several unit tests share: small classes, each with one purpose."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any, cast

import hiredis
import orjson
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.message import IncomingMessage
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from stream.broker import properties as wire
from stream.broker.republish import Copy
from stream.broker.wire import ArrivedHeaders
from stream.contract.decoding import decode
from stream.contract.headers import History
from stream.contract.messages import Message
from stream.delivery.arrival import Delivery
from stream.redis.link import RedisLink
from stream.tenants.cache import CredentialCache
from stream.tenants.codec import CredentialCodec

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for clients of plain HTTP: to read every CA costs 20 ms a client


class Clock:
    """A clock that only a test moves."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Sleeps:
    """A sleep that takes no time and notes how long it should have been."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await asyncio.sleep(0)


async def turns(count: int = 50) -> None:
    """Let the other tasks run, for `count` rounds of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


class FakeRedis:
    """The few commands that the credential cache uses, in memory; it can be away."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.entries: dict[str, tuple[bytes, float | None]] = {}
        self.away: Exception | None = None
        self.asked = 0
        self._clock = clock

    def go_away(self) -> None:
        self.away = RedisConnectionError("Error 111 connecting to localhost:6379")

    def come_back(self) -> None:
        self.away = None

    def value(self, key: str) -> bytes | None:
        value, ends = self.entries.get(key, (None, None))
        return None if ends is not None and self._clock() >= ends else value

    async def get(self, key: str) -> bytes | None:
        await self._command()
        return self.value(key)

    async def set(self, key: str, value: bytes | str, *, px: int | None = None, nx: bool = False) -> bool | None:
        await self._command()
        if nx and self.value(key) is not None:
            return None
        ends = None if px is None else self._clock() + px / 1000
        self.entries[key] = (value.encode() if isinstance(value, str) else value, ends)
        return True

    async def delete(self, key: str | bytes) -> int:
        await self._command()
        name = key.decode() if isinstance(key, bytes) else key
        return int(self.entries.pop(name, None) is not None)

    unlink = delete

    async def eval(self, script: str, keys: int, key: str, value: bytes | str) -> int:
        """The one script: delete a key if it holds this value."""
        await self._command()
        assert (keys, "DEL" in script) == (1, True)
        wanted = value.encode() if isinstance(value, str) else value
        return int(self.value(key) == wanted and self.entries.pop(key, None) is not None)

    async def scan_iter(self, *, match: str, count: int) -> AsyncIterator[bytes]:
        assert count
        await self._command()
        for key in list(self.entries):
            if fnmatchcase(key, match):
                yield key.encode()

    async def _command(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)  # where a real command would let other tasks run
        if self.away is not None:
            raise self.away


class ScriptConnection:
    """The connection that a link takes for its scripts: every command gets the answer that a test gives it.

    Args:
        answer: From a command's parts to its answer; an exception is raised where redis-py would raise it.
    """

    def __init__(self, answer: Callable[[list[bytes]], object]) -> None:
        self.socket_timeout: float | None = 1.0
        self.batches: list[list[list[bytes]]] = []
        self.answering = asyncio.Event()  # cleared, it keeps a batch on its way
        self.answering.set()
        self.refusing: Exception | None = None  # why there is no connection
        self.is_connected = False
        self.disconnects = 0
        self._answer = answer
        self._unread: list[list[bytes]] = []

    @property
    def connection_pool(self) -> ScriptConnection:
        """It stands for its client and its pool too."""
        return self

    def get_available_connection(self) -> ScriptConnection:
        return self

    async def connect(self) -> None:
        if self.refusing is not None:
            raise self.refusing
        self.is_connected = True

    async def send_packed_command(self, packed: list[bytes]) -> None:
        assert self._unread == []
        reader = hiredis.Reader()
        reader.feed(b"".join(packed))
        self.batches.append([reader.gets() for _ in packed])
        self._unread = list(self.batches[-1])

    async def read_response(self) -> object:
        await self.answering.wait()
        answer = self._answer(self._unread.pop(0))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def disconnect(self, *, nowait: bool = False, inuse_connections: bool | None = None) -> None:
        if inuse_connections is not None:  # the pool's idle ones, of which it has none
            return
        assert nowait
        self.disconnects += 1
        self.is_connected = False
        self._unread = []

    async def aclose(self) -> None:
        await self.disconnect(nowait=True)


def credential_cache(redis: FakeRedis, clock: Clock, codec: CredentialCodec | None = None) -> CredentialCache:
    """The cache of one replica."""
    return CredentialCache(RedisLink(cast("Redis", redis), clock=clock), codec or CredentialCodec([]), clock=clock)


def message(kind: str = "text", content: object = None, **metadata: Any) -> Message:
    """A message of acme's to one person."""
    payload = {"to": "+16505551234", "type": kind, kind: {"body": "Hello"} if content is None else content}
    who = {"tenantId": "acme", "phoneNumberId": "100000001", "internalId": "order-4711", **metadata}
    return decode(orjson.dumps({"metadata": who, "wabaPayload": payload}))


class Channel:
    """The channel of an incoming message: notes how the message was settled."""

    is_closed = False
    connection = SimpleNamespace(basic_nack=True)
    max_content_size = 131_064  # bytes of a frame's content, with RabbitMQ's default frame of 128 KiB

    def __init__(self, story: list[str]) -> None:
        self._story = story
        self._Channel__close_event = asyncio.Event()  # aiormq's, which is set when it answers the broker's close

    def answer_close(self) -> None:
        """The broker has closed it; soon `is_closed` will say so."""
        self._Channel__close_event.set()

    async def basic_nack(self, *_: Any, requeue: bool = True, **__: Any) -> None:
        self._story.append(f"nacked requeue={requeue}")

    async def basic_reject(self, *_: Any, requeue: bool = True, **__: Any) -> None:
        self._story.append(f"rejected requeue={requeue}")


def incoming(
    body: bytes = b"{}",
    *,
    routing_key: str = "outbound.processed.acme",
    exchange: str = "whatsapp-exchange",
    story: list[str] | None = None,
    redelivered: bool = False,
    **properties: Any,
) -> AbstractIncomingMessage:
    """A message as aio-pika hands it over, with AMQP properties by pamqp's names."""
    known = Basic.Properties(**properties)
    encoded = known.marshal()
    known.headers = ArrivedHeaders(known.headers, int.from_bytes(encoded[:2], "big"), encoded[2:])
    header = ContentHeader(body_size=len(body), properties=known)
    delivery = Basic.Deliver("consumer", 1, redelivered, exchange, routing_key)
    channel = cast("AbstractChannel", Channel([] if story is None else story))
    return IncomingMessage(DeliveredMessage(delivery, header, body, channel))


def delivery(content: Message | None = None, **properties: Any) -> Delivery:
    """A delivery of a message of acme's, that is read."""
    seen = datetime(2026, 11, 24, 12, tzinfo=UTC)
    return Delivery(incoming(**properties), History(seen), content or message())


def properties_of(copy: Copy) -> Basic.Properties:
    """The properties of a copy, as its receiver reads them."""
    encoded = wire.join(copy.properties)
    read = Basic.Properties()
    read.unmarshal(int.from_bytes(encoded[:2], "big"), encoded[2:])
    return read
