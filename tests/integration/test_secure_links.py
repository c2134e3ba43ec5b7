"""TLS with a private authority, and a RabbitMQ user with no right that the worker does not need.

The user's rights are taken from docs/security.md, as an operator would.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aiormq.exceptions import ChannelAccessRefused
from redis.asyncio import Redis

from sandbox.certificates import ServerCertificate, issue
from sandbox.graph import GraphSimulator
from sandbox.rabbitmq import PrivateRabbitMQ
from sandbox.redis import PrivateRedis
from sandbox.tenants import TenantService
from sandbox.world import World
from stream.broker.declaration import declare
from stream.broker.topology import Topology
from stream.contract.queues import DUE_QUEUE, INTAKE_QUEUE
from tests.scene import Evidence, Scene, management, number

PAGE = Path(__file__).parent.parent.parent / "docs" / "security.md"
USER, OBSERVER = "whatsapp-stream", "whatsapp-stream-keda"
NAMES = [
    "whatsapp-exchange",
    "whatsapp-dlx",
    "whatsapp-delay-delivery",
    "whatsapp-wait-07",
    "whatsapp-lane-3",
    "whatsapp-due",
    "outbound-processed",
    "outbound-failed",
]
NOT_NEEDED = {("read", "outbound-failed")}
# Or by declaring it, where it does not exist yet.
ASKED_BY_CONSUMING = {("read", INTAKE_QUEUE), ("read", DUE_QUEUE), ("read", "whatsapp-lane-3")}
ALL_RIGHTS = [(right, name) for right in ("configure", "write", "read") for name in NAMES]


def documented_rights(user: str) -> list[str]:
    """The three patterns of the command in docs/security.md."""
    text = PAGE.read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"^rabbitmqctl (set_permissions -p /whatsapp {user} .*)$", text, re.MULTILINE)
    return shlex.split(line)[4:]


@dataclass(frozen=True)
class Secured:
    """Servers with TLS, whom to trust, whom not to, and the least user's URL."""

    world: World
    rabbitmq: PrivateRabbitMQ
    trusted: ServerCertificate
    stranger: ServerCertificate
    passwords: dict[str, str]
    redis_url: str

    def url(self, user: str = USER, authority: Path | None = None) -> str:
        """The AMQPS URL of a user."""
        of_admin = f"{self.rabbitmq.username}:{self.rabbitmq.password}@"
        url = self.rabbitmq.tls_url.replace(of_admin, f"{user}:{self.passwords[user]}@")
        return f"{url}?cafile={authority or self.trusted.authority}"


@pytest.fixture(scope="module")
def secured(world: World) -> Iterator[Secured]:
    if not (PrivateRabbitMQ.installed() and PrivateRedis.installed()):
        pytest.skip("needs rabbitmq-server and redis-server on this machine, to give them certificates")
    folder = world.base_dir / "secured"
    trusted, stranger = issue(folder / "trusted"), issue(folder / "stranger")
    with (
        PrivateRabbitMQ(folder / "rabbitmq", certificate=trusted) as rabbitmq,
        PrivateRedis(folder / "redis", certificate=trusted) as redis,
    ):
        passwords = {user: secrets.token_urlsafe(12) for user in (USER, OBSERVER)}
        for user, password in passwords.items():
            rabbitmq.ctl("add_user", user, password)
            rabbitmq.ctl("set_permissions", "-p", "/whatsapp", user, *documented_rights(user))
        Evidence.secrets |= set(passwords.values())
        own = World(rabbitmq, redis, world.base_dir)
        yield Secured(own, rabbitmq, trusted, stranger, passwords, f"{redis.tls_url}?ssl_ca_certs={trusted.authority}")


@pytest.fixture(scope="module")
async def secure_scene(
    secured: Secured, graph: GraphSimulator, tenants: TenantService, settings: dict[str, str]
) -> AsyncIterator[Scene]:
    """A worker that has nothing but TLS and the least rights; the watcher is the administrator."""
    own = {**settings, "REDIS_URL": secured.redis_url}
    async with Scene.on(secured.world, own, graph, tenants, secured.rabbitmq.url) as stage:
        stage.settings["RABBITMQ_URL"] = secured.url()
        await stage.start_worker("secure")
        await stage.watch()
        yield stage


async def test_a_message_is_delivered_over_tls_by_the_least_user(secure_scene: Scene, secured: Secured) -> None:
    to = number()
    internal_id = await secure_scene.publish(to)
    await secure_scene.accepted(to)
    await secure_scene.event("outbound.sent.acme", internal_id)
    assert (await secure_scene.metrics(secure_scene.workers[0]))["redis_away"] == 0
    async with Redis.from_url(secured.redis_url) as redis:
        assert await redis.dbsize() > 0
    deadline = asyncio.get_running_loop().time() + 20  # the management API tells of a connection some seconds later
    async with management(secured.world) as api:
        while not (seen := [each for each in (await api.get("/api/connections")).json() if each.get("user") == USER]):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.1)
    assert [each["ssl"] for each in seen] == [True]


async def test_the_least_user_retries(secure_scene: Scene) -> None:
    to = number("99932500")
    event = await secure_scene.event("outbound.sent.acme", await secure_scene.publish(to), seconds=15)
    assert event["attempts"] == 3


async def test_the_least_user_dead_letters(secure_scene: Scene) -> None:
    letter = await secure_scene.letter(await secure_scene.publish(number("99910131026")))
    assert letter.headers["x-error-code"] == 131026


async def _stops_with(stage: Scene, **settings: str) -> str:
    worker = await stage.start_worker("refused", wait=False, **settings)
    await stage.until(lambda: worker.process.poll() is not None, 60, "the worker stops")
    assert worker.process.returncode == 1
    assert "Traceback" not in worker.log.read_text()
    return worker.tail(1)


async def test_a_rabbitmq_that_is_not_trusted_stops_the_start(secure_scene: Scene, secured: Secured) -> None:
    sentence = await _stops_with(secure_scene, RABBITMQ_URL=secured.url(authority=secured.stranger.authority))
    assert "RabbitMQ's certificate is not trusted (self-signed certificate in certificate chain)" in sentence
    assert "?cafile=" in sentence


async def test_a_rabbitmq_under_a_name_that_is_not_its_own_stops_the_start(
    secure_scene: Scene, secured: Secured
) -> None:
    sentence = await _stops_with(secure_scene, RABBITMQ_URL=secured.url().replace("@127.0.0.1:", "@localhost:"))
    assert "RabbitMQ's certificate is not trusted (Hostname mismatch" in sentence


async def test_an_authority_file_that_is_not_there_stops_the_start(secure_scene: Scene, secured: Secured) -> None:
    missing = secured.trusted.authority.with_name("missing.crt")
    sentence = await _stops_with(secure_scene, RABBITMQ_URL=secured.url(authority=missing))
    assert "RABBITMQ_URL names a certificate file that cannot be read" in sentence


async def test_a_redis_that_is_not_trusted_is_not_used_and_the_log_says_so(
    secure_scene: Scene, secured: Secured
) -> None:
    distrusting = secured.redis_url.replace(str(secured.trusted.authority), str(secured.stranger.authority))
    await secure_scene.stop_worker(secure_scene.workers[0])
    worker = await secure_scene.start_worker("distrusting", REDIS_URL=distrusting)
    to = number()
    await secure_scene.publish(to)
    await secure_scene.accepted(to)
    line = await secure_scene.logged(worker, "redis_away")
    assert "CERTIFICATE_VERIFY_FAILED" in line["error"]
    await secure_scene.stop_worker(worker)


async def _declares(url: str) -> bool:
    connection = await aio_pika.connect(url)
    try:
        await declare(connection, Topology())
    except ChannelAccessRefused:
        return False
    else:
        return True
    finally:
        await connection.close()


async def _grant(secured: Secured, rights: list[str]) -> None:
    body = dict(zip(("configure", "write", "read"), rights, strict=True))
    async with management(secured.world) as api:
        (await api.put(f"/api/permissions/%2Fwhatsapp/{USER}", json=body)).raise_for_status()


@pytest.fixture
async def one_right_less(secured: Secured, right: str, name: str) -> AsyncIterator[Secured]:
    documented = documented_rights(USER)
    position = ("configure", "write", "read").index(right)
    assert bool(re.search(documented[position], name)) is ((right, name) not in NOT_NEEDED)
    less = [*documented]
    less[position] = f"^(?!{name}$)" + documented[position].removeprefix("^")
    await _grant(secured, less)
    yield secured
    await _grant(secured, documented)


@pytest.mark.parametrize(("right", "name"), [each for each in ALL_RIGHTS if each not in NOT_NEEDED])
async def test_every_right_is_needed(one_right_less: Secured, right: str, name: str) -> None:
    if (right, name) not in ASKED_BY_CONSUMING:
        assert not await _declares(one_right_less.url())
        return
    async with await aio_pika.connect(one_right_less.url()) as connection:
        queue = await (await connection.channel()).get_queue(name, ensure=False)
        with pytest.raises(ChannelAccessRefused):
            await queue.get(fail=False)


@pytest.mark.parametrize(
    ("right", "name", "says"),
    [
        ("configure", "outbound-processed", "declare the topology"),
        ("write", "whatsapp-dlx", "declare the topology"),
        ("write", "whatsapp-exchange", "declare the topology"),
        ("read", "outbound-processed", "consume"),
    ],
)
async def test_one_right_less_stops_the_start_with_one_sentence(
    one_right_less: Secured, secure_scene: Scene, name: str, says: str
) -> None:
    sentence = await _stops_with(secure_scene, RABBITMQ_URL=one_right_less.url())
    assert f"RabbitMQ does not let the user of RABBITMQ_URL {says}: grant the right (ACCESS_REFUSED" in sentence
    assert f"'{name}' in vhost '/whatsapp' refused for user '{USER}'" in sentence


async def test_kedas_user_may_count_the_intake_queue_and_the_lanes(secured: Secured) -> None:
    assert await _declares(secured.url())
    async with await aio_pika.connect(secured.url(OBSERVER)) as connection:
        for name in (INTAKE_QUEUE, "whatsapp-lane-3"):
            queue = await (await connection.channel()).declare_queue(name, passive=True)
            assert queue.declaration_result.message_count is not None


@pytest.mark.parametrize(
    "attempt",
    [
        lambda channel: channel.basic_get(INTAKE_QUEUE),
        lambda channel: channel.queue_purge(INTAKE_QUEUE),
        lambda channel: channel.queue_delete(INTAKE_QUEUE),
        lambda channel: channel.queue_bind(INTAKE_QUEUE, "whatsapp-exchange", "#"),
        lambda channel: channel.queue_declare("another", durable=True),
        lambda channel: channel.basic_publish(b"{}", routing_key=INTAKE_QUEUE),
        lambda channel: channel.basic_publish(b"{}", exchange="whatsapp-exchange", routing_key="outbound.processed.x"),
    ],
    ids=["get", "purge", "delete", "bind", "declare", "publish to the queue", "publish to the exchange"],
)
async def test_kedas_user_may_do_nothing_else(secured: Secured, attempt: Callable[[Any], Awaitable[Any]]) -> None:
    assert await _declares(secured.url())
    async with await aio_pika.connect(secured.url(OBSERVER)) as connection:
        channel = await (await connection.channel()).get_underlay_channel()
        with pytest.raises(ChannelAccessRefused):
            await attempt(channel)
