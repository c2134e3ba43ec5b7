"""What `REDIS_URL` may name, and what the client is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from stream.redis.address import CLUSTER, SENTINEL, Address
from stream.redis.client import connect
from stream.redis.cluster import Cluster
from stream.redis.sentinels import has_moved

SENTINELS = "redis+sentinel://app:s3cret@one:26380,two,[::1]:26381/mymaster/3?sentinel_password=0ther&client_name=a%20b"


def sentinels_of(client: object) -> Any:
    assert isinstance(client, Redis)
    assert isinstance(client.connection_pool, SentinelConnectionPool)
    return client.connection_pool.sentinel_manager


def test_the_sentinels_the_masters_name_and_both_logins_are_told_apart() -> None:
    assert Address.parse(SENTINELS) == Address(
        SENTINEL,
        (("one", 26380), ("two", 26379), ("::1", 26381)),
        "mymaster",
        "redis://app:s3cret@one:26380/3?client_name=a+b",
        {"password": "0ther"},
    )


def test_a_clusters_nodes_are_named_with_commas_between_them() -> None:
    address = Address.parse("rediss+cluster://:pw,@one:7000,two?ssl_ca_certs=/ca.crt")
    assert (address.kind, address.hosts) == (CLUSTER, (("one", 7000), ("two", 6379)))
    assert address.server == "rediss://:pw,@one:7000?ssl_ca_certs=%2Fca.crt"


def test_the_url_of_one_server_is_left_as_it_is() -> None:
    url = "redis://:pw@one/2?client_name=x"
    assert Address.parse(url).server == url


def test_a_password_is_in_no_repr() -> None:
    assert not {"s3cret", "0ther"} & set(repr(Address.parse(SENTINELS)).replace("'", " ").replace(":", " ").split())


def test_each_login_goes_to_its_own_servers_only() -> None:
    client = connect(SENTINELS)
    assert isinstance(client, Redis)
    master = client.connection_pool.connection_kwargs
    assert (master["username"], master["password"], master["db"]) == ("app", "s3cret", 3)
    for sentinel in sentinels_of(client).sentinels:
        options = sentinel.connection_pool.connection_kwargs
        assert (options.get("username"), options["password"]) == (None, "0ther")


def test_all_sentinels_are_asked_within_the_time_that_a_batch_has() -> None:
    manager = sentinels_of(connect(SENTINELS))
    options = [sentinel.connection_pool.connection_kwargs for sentinel in manager.sentinels]
    assert sum(each["socket_timeout"] for each in options) < 1.0
    assert sum(each["socket_connect_timeout"] for each in options) < 1.0


async def test_sentinels_that_do_not_answer_are_named_with_their_reasons_and_without_a_login() -> None:
    manager = sentinels_of(connect("redis+sentinel://:s3cret@127.0.0.1:1,127.0.0.1:2/mymaster?sentinel_password=0ther"))
    with pytest.raises(MasterNotFoundError) as raised:
        await manager.discover_master("mymaster")
    said = str(raised.value)
    assert said.startswith("No master found for 'mymaster' : 127.0.0.1:1 - Error ")
    assert "connecting to 127.0.0.1:1." in said
    assert "127.0.0.1:2 - Error " in said
    assert not [password for password in ("s3cret", "0ther") if password in said]


async def test_each_question_goes_to_another_sentinel_first() -> None:
    manager = sentinels_of(connect("redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/mymaster"))
    asked = []
    for _ in range(4):
        with pytest.raises(MasterNotFoundError) as raised:
            await manager.discover_master("mymaster")
        asked.append(str(raised.value).split(" : ")[1].split(" ")[0])
    assert asked == [f"127.0.0.1:{port}" for port in (1, 2, 3, 1)]


async def test_a_question_during_another_one_does_not_disturb_it() -> None:
    manager = sentinels_of(connect("redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/mymaster"))
    closing, another_has_begun = asyncio.Event(), asyncio.Event()

    async def close(**_: bool) -> None:
        closing.set()
        await another_has_begun.wait()

    for sentinel in manager.sentinels:
        sentinel.connection_pool.disconnect = close
    first = asyncio.create_task(manager.discover_master("mymaster"))
    await closing.wait()
    second = asyncio.create_task(manager.discover_master("mymaster"))
    await asyncio.sleep(0)
    another_has_begun.set()
    answers = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(answer) for answer in answers] == [MasterNotFoundError] * 2


@pytest.mark.parametrize(
    ("named", "moved"), [("aaa", False), ("baa", False), ("bba", True), ("bb-", True), ("b--", False), ("abc", False)]
)
async def test_a_master_has_moved_once_most_sentinels_name_another_one(named: str, *, moved: bool) -> None:
    client = connect("redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/mymaster")
    assert isinstance(client, Redis)
    for host, sentinel in zip(named, sentinels_of(client).sentinels, strict=True):
        sentinel.sentinel_masters = answering(host)
    client.connection_pool.master_address = ("b", 6379)  # type: ignore[attr-defined] # a newer connection has asked
    assert {await has_moved(client, ("a", 6379)) for _ in named} == ({False, True} if named == "bba" else {moved})


def answering(host: str) -> Callable[[], Awaitable[dict[str, dict[str, object]]]]:
    async def masters() -> dict[str, dict[str, object]]:
        if host == "-":
            raise RedisConnectionError("no answer")
        up = {"is_master": True, "is_sdown": False, "is_odown": False, "num-other-sentinels": 2}
        return {"mymaster": {"ip": host, "port": 6379, **up}}

    return masters


def test_tls_is_to_the_sentinels_too() -> None:
    manager = sentinels_of(connect("rediss+sentinel://one,two/mymaster?ssl_ca_certs=/ca.crt"))
    for sentinel in manager.sentinels:
        pool = sentinel.connection_pool
        assert pool.connection_class.__name__ == "SSLConnection"
        assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.crt"


async def test_a_cluster_that_does_not_answer_raises_what_one_server_would() -> None:
    client = connect("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    assert isinstance(client, Cluster)
    for failing in (client.read_map(), client.get("key")):
        with pytest.raises(RedisError):
            await failing
    await client.aclose()
