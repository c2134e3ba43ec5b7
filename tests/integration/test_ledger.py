"""The ledger's states on a real Redis: a doubt is never forgotten, and a sent message stays sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.world import World
from stream.contract.identifiers import Wamid
from stream.delivery.ledger import AlreadySent, BeingSent, Claim, Granted, InDoubt, NoCredentials, SentLedger
from stream.meta.client import Accepted
from stream.redis_link import RedisLink, connect
from tests.scene import unique

ACCEPTED = Accepted(Wamid("wamid.A"), "16505551234", None, 200)


class Message:
    """One message's place in the ledger, claimed by named tries of two replicas."""

    def __init__(self, link: RedisLink) -> None:
        self.key = unique("ledger-test")
        self.link = link
        self.ledger = SentLedger(link, replica="here", lease_s=60, ttl_ms=60_000, most_doubts=2)
        self.brief = SentLedger(link, replica="dead", lease_s=0.0, ttl_ms=60_000, most_doubts=2)

    async def claim(self, owner: str, *, send_again: bool = True, by: SentLedger | None = None) -> Claim:
        ledger = by or self.ledger
        return await ledger.claim(self.key, owner, "no-such-key", send_again=send_again, need_credentials=False)

    async def sent(self) -> None:
        await self.ledger.record_sent(self.key, ACCEPTED, claimed=True, after_unknown=False)


@pytest.fixture
async def message(world: World) -> AsyncIterator[Message]:
    redis = connect(world.redis.url)
    yield Message(RedisLink(redis))
    await redis.aclose()


async def test_a_claim_is_exclusive_renewable_and_given_back(message: Message) -> None:
    assert await message.claim("one") == Granted(None)
    assert isinstance(await message.claim("two"), BeingSent)
    assert await message.claim("one") == Granted(None)
    await message.ledger.release(message.key, "one")
    assert await message.claim("two") == Granted(None)


async def test_nothing_is_claimed_without_credentials(message: Message) -> None:
    claim = await message.ledger.claim(message.key, "one", "no-such-key", send_again=True, need_credentials=True)
    assert claim == NoCredentials()
    assert await message.claim("two") == Granted(None)


async def test_a_sent_message_stays_sent_for_every_later_try(message: Message) -> None:
    await message.claim("one")
    await message.sent()
    assert await message.claim("two") == AlreadySent(ACCEPTED)


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
