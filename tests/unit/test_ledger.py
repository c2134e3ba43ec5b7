"""What the worker makes of the ledger's answers, and of their absence; the scripts run on a real Redis elsewhere."""

from __future__ import annotations

from typing import cast

import orjson
import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.contract.identifiers import Wamid
from stream.delivery import ledger as module
from stream.delivery.claim import AlreadySent, BeingSent, CircuitOpen, Claim, Granted, InDoubt, NoCredentials, Paced
from stream.delivery.claims import CLAIM, Claims
from stream.delivery.ledger import RECORD_PAUSE_S, SentLedger
from stream.meta.client import Accepted
from stream.redis.link import RedisLink
from stream.traffic.circuit import Circuit, State
from stream.traffic.paces import MessageLimits
from stream.traffic.pacing import UNLIMITED, Limit
from tests.unit.doubles import Clock, ScriptConnection, Sleeps, message

ACCEPTED = Accepted(Wamid("wamid.A"), "16505551234", None, 200)
KEYS = ("key", "credentials", "circuits")
OPEN = Circuit(State.OPEN, failures=5, open_ms=6_000, reason="AUTH_ERROR")
CIRCUIT = b'{"state":"open","failures":5,"open_ms":6000,"reason":"AUTH_ERROR","since":0,"ends":0,"by_hand":false}'
FROZEN = RedisTimeoutError("no answer")  # a connection that is gone would be tried once more, by the link


class Scripts(ScriptConnection):
    """A Redis that runs no script: it notes each call by the script's name, and answers what it is told to."""

    def __init__(self, *answers: object) -> None:
        super().__init__(self._run)
        self.calls: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
        self._answers = list(answers)
        self._names = {
            CLAIM.sha: "claim",
            module._SENT.sha: "sent",
            module._RELEASE.sha: "release",
            module._DOUBT.sha: "doubt",
        }

    def _run(self, command: list[bytes]) -> object:
        _, sha, keys, *rest = command
        words = tuple(map(bytes.decode, rest))
        self.calls.append((self._names[sha], words[: int(keys)], words[int(keys) :]))
        return self._answers.pop(0)


class Book:
    """One replica's ledger on such a Redis; its pauses let the clock run."""

    def __init__(self, *answers: object) -> None:
        self.redis = Scripts(*answers)
        self.sleeps = Sleeps()
        self.clock = Clock()
        link = RedisLink(cast("Redis", self.redis), clock=self.clock)
        self.claims = Claims(link, replica="here", lease_s=1.5, ttl_ms=60_000, most_doubts=2, draw=lambda: 0.5)
        self.unrecorded = 0
        self.ledger = SentLedger(link, ttl_ms=60_000, on_unrecorded=self._count, sleep=self._sleep)

    def _count(self) -> None:
        self.unrecorded += 1

    async def _sleep(self, seconds: float) -> None:
        await self.sleeps(seconds)
        self.clock.now += seconds

    async def claim(self, *, send_again: bool = True, need_credentials: bool = True) -> Claim:
        return await self.claims.claim(
            KEYS, "owner", "number:1", send_again=send_again, need_credentials=need_credentials
        )


def away() -> Book:
    """One whose Redis cannot be reached."""
    book = Book()
    book.redis.refusing = ConnectionRefusedError()
    return book


@pytest.mark.parametrize(
    ("answer", "claim"),
    [
        ([b"no_credentials"], NoCredentials()),
        ([b"claimed", b"entry"], Granted(b"entry")),
        ([b"claimed", None], Granted(None)),
        ([b"again", b"entry", b"there"], Granted(b"entry", after_unknown="there")),
        ([b"pace", 2_500_000, 3], Paced(2.5, "pair")),
        ([b"busy", 1500], BeingSent(left_s=1.5)),
        ([b"unknown", b"there"], InDoubt(replica="there")),
        ([b"circuit", b"tenant", CIRCUIT, 5000, 1000], CircuitOpen(5.5, "tenant", OPEN)),
        ([b"claimed", b"entry", [b"tenant", CIRCUIT]], Granted(b"entry", seen=(("tenant", OPEN),))),
        ([b"no_credentials", [b"tenant", CIRCUIT]], NoCredentials(seen=(("tenant", OPEN),))),
        ([b"again", None, b"there", [b"tenant", CIRCUIT]], Granted(None, "there", seen=(("tenant", OPEN),))),
    ],
    ids=lambda value: value[0].decode() if isinstance(value, list) else type(value).__name__,
)
async def test_each_answer_of_a_claim_is_understood(answer: list[object], claim: Claim) -> None:
    assert await Book(answer).claim() == claim


@pytest.mark.parametrize("after_unknown", [True, False])
async def test_what_was_recorded_of_a_send_is_what_a_duplicate_reads(*, after_unknown: bool) -> None:
    book = Book(1)
    await book.ledger.record_sent("key", ACCEPTED, claimed=True, after_unknown=after_unknown)
    ((name, keys, (written, ttl_ms)),) = book.redis.calls
    assert (name, keys, ttl_ms) == ("sent", ("key",), "60000")
    assert await Book([b"sent", written]).claim() == AlreadySent(ACCEPTED, after_unknown)
    assert orjson.loads(written)[0] == "wamid.A"


@pytest.mark.parametrize(
    ("send_again", "need_credentials", "flags"), [(True, True, ("1", "1")), (False, False, ("0", "0"))]
)
async def test_a_claim_tells_redis_who_how_long_and_what_is_allowed(
    *, send_again: bool, need_credentials: bool, flags: tuple[str, str]
) -> None:
    book = Book([b"claimed", None])
    await book.claim(send_again=send_again, need_credentials=need_credentials)
    words = ("owner", "number:1", "0", "here", "1500", "60000", *flags, "2", "1000000000000000")
    assert book.redis.calls == [("claim", ("key", "credentials", "circuits"), words)]


async def test_without_redis_a_claim_is_granted_but_says_that_nothing_was_recorded() -> None:
    assert await away().claim(need_credentials=False) == Granted(None, recorded=False)


@pytest.mark.parametrize("book", [away(), Book(FROZEN)], ids=["away", "no answer"])
async def test_without_redis_a_copy_that_a_job_may_make_again_waits(book: Book) -> None:
    claim = await book.claims.claim(
        KEYS, "owner", "number:1", send_again=True, need_credentials=True, needs_ledger=True
    )
    assert claim == Paced(5.0, "redis")


async def test_a_claim_names_the_limits_of_its_message_and_how_long_that_is_valid() -> None:
    book = Book([b"claimed", None])
    limits = MessageLimits.of(("n", "t"), (Limit(5, 50), UNLIMITED))
    await book.claims.claim(
        KEYS, "owner", "number:1", limits=limits, left_s=1.5, send_again=True, need_credentials=True
    )
    ((_, keys, words),) = book.redis.calls
    assert keys == (*KEYS, "n", "t")
    assert words[9:] == ("1500000", "5", "50", "0", "0")


async def test_without_redis_a_message_that_may_be_claimed_is_paced_by_the_replica_alone() -> None:
    book, limits = away(), MessageLimits.of(("n",), (Limit(10**12, 10**12),))
    claims = [
        await book.claims.claim(
            KEYS, "owner", "number:1", limits=limits, left_s=left_s, send_again=True, need_credentials=need
        )
        for left_s, need in ((60, False), (60, True), (60, False), (0, False))
    ]
    assert claims[:2] == [Granted(None, recorded=False), NoCredentials()]
    assert isinstance(claims[2], Paced)
    assert claims[2].limit == "phone_number"
    assert claims[3] == Granted(None, recorded=False), "a claim that has had its turn does not wait for another"


async def test_without_redis_a_claim_that_needs_credentials_has_none() -> None:
    assert await away().claim() == NoCredentials(recorded=False)


async def test_a_claim_whose_answer_was_lost_may_be_recorded_and_the_one_that_did_not_leave_is_not() -> None:
    for need_credentials, lost, not_asked in (
        (False, Granted(None, recorded=True), Granted(None, recorded=False)),
        (True, NoCredentials(recorded=True), NoCredentials(recorded=False)),
    ):
        book = Book(FROZEN)
        assert await book.claim(need_credentials=need_credentials) == lost
        assert await book.claim(need_credentials=need_credentials) == not_asked
        assert len(book.redis.calls) == 1


@pytest.mark.parametrize(
    ("end", "call"),
    [
        ("release", ("release", ("key",), ("owner",))),
        ("unknown", ("doubt", ("key",), ("owner", "unknown"))),
        ("held", ("doubt", ("key",), ("owner", "held"))),
    ],
)
async def test_an_end_that_redis_did_not_take_is_written_once_more_after_a_pause(
    end: str, call: tuple[str, tuple[str], tuple[str, ...]]
) -> None:
    async def write(book: Book) -> None:
        if end == "release":
            await book.ledger.release("key", "owner")
        else:
            await book.ledger.record_unknown("key", "owner", send_again=end == "unknown")

    at_once, later, never = Book(1), Book(FROZEN, 1), Book(FROZEN, FROZEN, 1)
    for book in (at_once, later, never):
        await write(book)
    assert [len(book.redis.calls) for book in (at_once, later, never)] == [1, 2, 2]
    assert {each for book in (at_once, later, never) for each in map(repr, book.redis.calls)} == {repr(call)}
    assert (at_once.sleeps.asked, later.sleeps.asked) == ([], [RECORD_PAUSE_S])


async def test_a_send_that_redis_never_knew_of_is_recorded_without_a_second_attempt() -> None:
    book = Book(FROZEN, 1)
    await book.ledger.record_sent("key", ACCEPTED, claimed=False, after_unknown=False)
    assert (len(book.redis.calls), book.sleeps.asked) == (1, [])


async def test_a_message_that_was_sent_and_could_not_be_recorded_is_counted() -> None:
    recorded, unrecorded = Book(FROZEN, 1), Book(FROZEN, FROZEN)
    for book in (recorded, unrecorded):
        await book.ledger.record_sent("key", ACCEPTED, claimed=True, after_unknown=False)
    assert (recorded.unrecorded, unrecorded.unrecorded) == (0, 1)


def test_a_message_is_the_same_by_tenant_id_payload_and_resend() -> None:
    key, *_ = Book().claims.keys(message())
    assert key == Book().claims.keys(message(correlationId="another"))[0]
    assert key.startswith(module.KEY_PREFIX + "{acme}:")
    others = (message(tenantId="globex"), message(internalId="order-1"), message(content={"body": "Hi"}))
    assert len({key, *(Book().claims.keys(other)[0] for other in others)}) == 4
