"""The ledger's states on a real Redis: a doubt is never forgotten, and a sent message stays sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from sandbox.world import World
from stream.contract.identifiers import Wamid
from stream.delivery import ledger as module
from stream.delivery.claim import AlreadySent, BeingSent, Claim, Granted, InDoubt, Keys, NoCredentials
from stream.delivery.claims import CLAIM, Claims
from stream.delivery.ledger import SentLedger
from stream.meta.client import Accepted
from stream.redis.availability import RedisAway
from stream.redis.client import connect
from stream.redis.connection import BatchConnection
from stream.redis.link import RedisLink
from stream.redis.scripts import Script
from stream.redis.server import Server
from tests.scene import unique

ACCEPTED = Accepted(Wamid("wamid.A"), "16505551234", None, 200)


def connection_of(link: RedisLink) -> BatchConnection:
    """What a link to one server sends its batches on."""
    assert isinstance(link._servers, Server)
    return link._servers._connection


class Message:
    """One message's place in the ledger, claimed by named tries of two replicas."""

    def __init__(self, link: RedisLink) -> None:
        self.key = unique("ledger-test")
        self.link = link
        self.lost = 0  # answers that Redis gave and the worker did not get
        self.ledger = SentLedger(link, ttl_ms=60_000)
        self.claims = Claims(link, replica="here", lease_s=60, ttl_ms=60_000, most_doubts=2)
        self.brief = Claims(link, replica="dead", lease_s=0.0, ttl_ms=60_000, most_doubts=2)

    @property
    def keys(self) -> Keys:
        return (self.key, "no-such-key", "no-such-circuits")

    async def claim(
        self, owner: str, *, send_again: bool = True, by: Claims | None = None, need_credentials: bool = False
    ) -> Claim:
        return await (by or self.claims).claim(
            self.keys, owner, "number:1", send_again=send_again, need_credentials=need_credentials
        )

    async def sent(self) -> None:
        await self.ledger.record_sent(self.key, ACCEPTED, claimed=True, after_unknown=False)

    async def state(self) -> dict[bytes, bytes]:
        """What Redis holds, without the times."""
        held: dict[Any, Any] = await self.link.redis.hgetall(self.key)
        return {name: value for name, value in held.items() if name not in {b"since", b"lease"}}

    def lose_next_answers(self) -> None:
        """Let Redis run the next batch, and the connection die before the worker reads its answers."""
        connection = connection_of(self.link)
        exchange = connection.exchange

        async def lose(commands: list[bytes]) -> list[object]:
            connection.exchange = exchange  # type: ignore[method-assign]
            await exchange(commands)
            await connection.drop()
            self.lost += len(commands)
            raise RedisConnectionError("closed by server")

        connection.exchange = lose  # type: ignore[method-assign]

    async def do(self, script: str) -> None:
        """Run one of the ledger's scripts for the try that is called one."""
        match script:
            case "claim":
                await self.claim("one")
            case "sent":
                await self.sent()
            case "release":
                await self.ledger.release(self.key, "one")
            case "doubt":
                await self.ledger.record_unknown(self.key, "one", send_again=True)


@pytest.fixture
def message(link: RedisLink) -> Message:
    return Message(link)


async def test_a_claim_is_exclusive_renewable_and_given_back(message: Message) -> None:
    assert await message.claim("one") == Granted(None)
    assert isinstance(await message.claim("two"), BeingSent)
    assert await message.claim("one") == Granted(None)
    await message.ledger.release(message.key, "one")
    assert await message.claim("two") == Granted(None)


async def test_nothing_is_claimed_without_credentials(message: Message) -> None:
    assert await message.claim("one", need_credentials=True) == NoCredentials()
    assert await message.claim("two") == Granted(None)


async def test_a_sent_message_stays_sent_for_every_later_try(message: Message) -> None:
    await message.claim("one")
    await message.sent()
    assert await message.claim("two") == AlreadySent(ACCEPTED)


async def test_what_is_known_of_a_message_is_answered_before_anything_is_said_of_credentials(message: Message) -> None:
    async def claim(owner: str, *, send_again: bool = True) -> Claim:
        return await message.claim(owner, send_again=send_again, need_credentials=True)

    await message.claim("one")
    assert isinstance(await claim("two"), BeingSent)
    await message.ledger.record_unknown(message.key, "one", send_again=True)
    assert await claim("two", send_again=False) == InDoubt("here")
    assert await claim("two") == NoCredentials()
    assert (await message.state())[b"state"] == b"unknown"
    await message.sent()
    assert await claim("two") == AlreadySent(ACCEPTED)


async def test_a_lease_that_ended_is_in_doubt_not_free(message: Message) -> None:
    await message.claim("one", by=message.brief)
    assert await message.claim("two", send_again=False) == InDoubt("dead")
    assert await message.claim("three") == Granted(None, after_unknown="dead")


async def test_a_refusal_after_a_doubt_leads_back_to_the_doubt(message: Message) -> None:
    await message.claim("one", by=message.brief)
    await message.claim("two")
    await message.ledger.release(message.key, "two")
    assert await message.claim("three", send_again=False) == InDoubt("dead")
    assert await message.claim("four") == Granted(None, after_unknown="dead")


async def test_a_late_answer_is_not_undone_by_the_replica_that_took_over(message: Message) -> None:
    await message.claim("slow", by=message.brief)
    await message.claim("eager")
    await message.sent()  # the slow one's answer came after all
    await message.ledger.release(message.key, "eager")
    await message.ledger.record_unknown(message.key, "eager", send_again=True)
    assert await message.claim("later") == AlreadySent(ACCEPTED)


async def test_doubts_are_bounded_whatever_the_headers_say(message: Message) -> None:
    for attempt in ("one", "two", "three"):
        assert isinstance(await message.claim(attempt), Granted)
        await message.ledger.record_unknown(message.key, attempt, send_again=True)
    assert await message.claim("four") == InDoubt("here")


async def test_what_was_probably_sent_is_not_sent_again(message: Message) -> None:
    await message.claim("one")
    await message.ledger.record_unknown(message.key, "one", send_again=False)
    assert await message.claim("two") == InDoubt("here")


SCRIPTS = ("claim", "sent", "release", "doubt")


@pytest.fixture
async def once(world: World) -> AsyncIterator[Message]:
    """Another message, whose answers are not lost."""
    link = RedisLink(connect(world.redis.url))
    yield Message(link)
    await link.aclose()


@pytest.mark.parametrize("in_doubt", [False, True], ids=["new", "in-doubt"])
@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_script_that_ran_twice_for_a_lost_answer_leaves_what_it_leaves_when_it_runs_once(
    message: Message, once: Message, script: str, *, in_doubt: bool
) -> None:
    for each in (message, once):
        if in_doubt:
            await each.claim("zero", by=each.brief)
        if script != "claim":
            await each.claim("one")
        if each is message:
            each.lose_next_answers()
        await each.do(script)
    assert message.lost == 1
    assert await message.state() == await once.state()
    assert type(await message.claim("two")) is type(await once.claim("two"))


async def test_a_claim_whose_answer_was_lost_gets_the_same_answer_again(message: Message) -> None:
    await message.claim("zero", by=message.brief)
    message.lose_next_answers()
    assert await message.claim("one") == Granted(None, after_unknown="dead")
    await message.ledger.record_unknown(message.key, "one", send_again=True)
    assert (await message.state())[b"doubts"] == b"2"


@pytest.mark.parametrize("script", ["release", "doubt"])
async def test_an_end_that_is_written_twice_leaves_alone_what_another_try_claimed_meanwhile(
    message: Message, script: str
) -> None:
    await message.claim("one")
    await message.do(script)
    await message.claim("two")
    before = await message.state()
    await message.do(script)
    assert (await message.state(), before[b"owner"]) == (before, b"two")


@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_redis_that_has_forgotten_the_scripts_runs_each_all_the_same(
    message: Message, once: Message, script: str
) -> None:
    for each in (message, once):
        if script != "claim":
            await each.claim("one")
        if each is message:
            await each.link.redis.script_flush()
        await each.do(script)
    assert await message.state() == await once.state()
    assert not message.link.away


async def test_a_connection_that_redis_closed_while_it_was_idle_costs_nothing(message: Message) -> None:
    await message.claim("one")
    connection = connection_of(message.link)._connection
    assert connection._writer is not None
    host, port = connection._writer.get_extra_info("sockname")
    assert await message.link.redis.client_kill_filter(addr=f"{host}:{port}") == 1
    await message.sent()
    assert await message.claim("two") == AlreadySent(ACCEPTED)


async def test_a_key_of_another_type_is_its_own_messages_trouble_only(message: Message) -> None:
    await message.link.redis.set(message.key, "not a ledger's")
    keys = [unique("neighbour") for _ in range(5)]
    claims = await asyncio.gather(
        *(
            message.claims.claim((key, *message.keys[1:]), "one", "number:1", send_again=True, need_credentials=False)
            for key in (keys[0], message.key, *keys[1:])
        )
    )
    assert [claim.recorded for claim in claims if isinstance(claim, Granted)] == [True, False, True, True, True, True]
    assert not message.link.away


GARBLED = {  # what a message's key may hold that no script has written, and a script that cannot work with it
    "a lease that is no time": (CLAIM, "state sending owner two lease soon"),
    "doubts that are no number": (module._DOUBT, "state sending owner one doubts many replica here"),
    "no replica": (module._DOUBT, "state sending owner one doubts 0"),
}


@pytest.mark.parametrize(("script", "held"), GARBLED.values(), ids=GARBLED)
async def test_a_key_that_holds_nonsense_is_its_own_messages_trouble_only(
    message: Message, script: Script, held: str
) -> None:
    await message.link.redis.hset(message.key, items=held.split())
    with pytest.raises(RedisAway):
        await message.link.run(script, message.keys, ("one", "unknown"))
    assert not message.link.away
