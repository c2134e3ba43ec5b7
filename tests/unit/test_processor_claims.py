from __future__ import annotations

import asyncio

import httpx
import pytest
import structlog

from stream.contract.decoding import decode
from stream.contract.headers import OnUnknown
from stream.contract.identifiers import Wamid
from stream.delivery.claim import AlreadySent, BeingSent, CircuitOpen, Claim, Granted, InDoubt, NoCredentials
from stream.delivery.outcome import Busy, Duplicate, Sent
from stream.meta.client import Accepted
from stream.meta.failure import Certainty
from stream.tenants.credentials import TenantNotFound
from stream.traffic.circuit import Circuit, State
from tests.unit.doubles import message
from tests.unit.processing import BUSY, EXPIRED, OK, REFUSED, World

FIRST = Accepted(Wamid("wamid.first"), None, None, 200)
SILENCE = httpx.ReadTimeout("silence")
REFUSED_PORT = httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("answers", "story"),
    [
        ((OK,), ["claimed", "sent wamid.A"]),
        ((EXPIRED,), ["claimed", "released"]),
        ((BUSY,), ["claimed", "released"]),
        ((REFUSED_PORT,), ["claimed", "released"]),
        ((SILENCE,), ["claimed", "unknown"]),
        ((httpx.ReadError("reset"),), ["claimed", "unknown"]),
        ((httpx.Response(200, json={}),), ["claimed", "held"]),
        ((REFUSED, OK), ["claimed", "claimed", "sent wamid.A"]),
        ((REFUSED, REFUSED), ["claimed", "claimed", "released"]),
        ((REFUSED, SILENCE), ["claimed", "claimed", "unknown"]),
    ],
)
async def test_the_ledger_is_told_how_a_claimed_send_ended(
    answers: tuple[httpx.Response | Exception, ...], story: list[str]
) -> None:
    world = World(*answers)
    await world.process()
    assert world.ledger.story == story


LOST, NOT_MADE, MADE = NoCredentials(recorded=True), Granted(None, recorded=False), Granted(b"token")


@pytest.mark.parametrize(
    ("claims", "answers", "end"),
    [
        ((LOST, NOT_MADE), (EXPIRED,), "released"),
        ((LOST, NOT_MADE), (SILENCE,), "unknown"),
        ((LOST, NOT_MADE), (OK,), "sent wamid.A"),
        ((MADE, NOT_MADE), (REFUSED, EXPIRED), "released"),
        ((NoCredentials(), NOT_MADE), (EXPIRED,), "claimed"),
    ],
    ids=["refused", "no answer", "sent", "claimed before redis went", "never claimed"],
)
async def test_the_end_of_a_try_is_recorded_if_any_of_its_claims_may_stand(
    claims: tuple[Claim, ...], answers: tuple[httpx.Response | Exception, ...], end: str
) -> None:
    world = World(*answers, claims=claims)
    await world.process()
    assert world.ledger.story[-1] == end


async def test_a_claim_that_may_stand_is_given_back_when_its_tenant_has_no_credentials() -> None:
    world = World(error=TenantNotFound("404"), claims=(LOST,))
    await world.failed()
    assert world.ledger.story == ["released"]


async def test_credentials_of_another_number_are_not_used_where_the_rule_is_strict() -> None:
    strict, warned, own, unnamed = (World(OK, owns_number=rule) for rule in ("strict", "warn", "strict", "strict"))
    for world, number in ((strict, "200000002"), (warned, "200000002"), (own, "100000001"), (unnamed, None)):
        world.provider.number = number
    failed = await strict.failed()
    assert (failed.failure.rule.name, failed.failure.certainty) == ("PHONE_NUMBER_NOT_OWNED", Certainty.NOT_SENT)
    assert "200000002" in failed.failure.detail
    assert (strict.requests, strict.ledger.story) == ([], ["claimed", "released"])
    for world in (warned, own, unnamed):
        assert isinstance(await world.process(), Sent)


async def test_a_claim_is_given_back_when_a_circuit_opens_between_a_refusal_and_the_second_send() -> None:
    opened = CircuitOpen(5.0, "tenant", Circuit(State.OPEN, reason="AUTH_ERROR"))
    world = World(REFUSED, claims=(Granted(b"cached"), opened))
    assert await world.process() == Busy(5.0, "circuit", "the circuit of its tenant: AUTH_ERROR")
    assert world.ledger.story == ["claimed", "released"]


async def test_a_message_is_claimed_after_its_credentials_were_fetched() -> None:
    world = World(error=TenantNotFound("404"))
    await world.failed()
    assert world.ledger.story == []


async def test_cached_credentials_that_came_with_the_claim_are_used() -> None:
    world = World(OK, claims=(Granted(b"cached"),))
    assert isinstance(await world.process(), Sent)
    assert (world.tokens, world.provider.asked) == (["Bearer cached"], [])


async def test_a_message_that_was_sent_before_is_a_duplicate() -> None:
    world = World(claims=(AlreadySent(FIRST),))
    assert await world.process() == Duplicate(FIRST)
    assert (world.requests, world.ledger.story) == ([], [])


async def test_a_message_that_is_being_sent_is_busy() -> None:
    world = World(claims=(BeingSent(3.5),))
    assert await world.process() == Busy(3.5)
    assert (world.requests, world.ledger.story) == ([], [])


async def test_a_message_in_doubt_is_given_up_without_a_send() -> None:
    world = World(claims=(InDoubt("replica-1"),))
    failed = await world.failed()
    assert failed.failure.rule.name == "OUTCOME_UNKNOWN"
    assert (failed.failure.certainty, failed.sends, world.requests) == (Certainty.UNKNOWN, 0, [])
    assert "replica-1" in failed.failure.detail


async def test_a_message_that_is_sent_again_after_doubt_says_so() -> None:
    with structlog.testing.capture_logs() as lines:
        outcome = await World(OK, claims=(Granted(b"cached", after_unknown="replica-1"),)).process()
    assert isinstance(outcome, Sent)
    assert outcome.after_unknown
    assert [line["event"] for line in lines] == ["sending_again_after_unknown_outcome"]


@pytest.mark.parametrize(("setting", "again"), [("retry", True), ("dead-letter", False)])
@pytest.mark.parametrize(("header", "header_again"), [(None, None), ("retry", True), ("dead-letter", False)])
async def test_whether_to_send_again_is_the_messages_wish_or_else_the_setting(
    setting: OnUnknown, header: str | None, *, again: bool, header_again: bool | None
) -> None:
    raw = (
        b'{"metadata":{"tenantId":"acme","phoneNumberId":"1","internalId":"a"},"wabaPayload":{"type":"text","text":{}}}'
    )
    world = World(OK, on_unknown=setting)
    await world.process(decode(raw, {"x-on-unknown-outcome": header} if header else {}))
    assert world.claims.send_again == {again if header_again is None else header_again}


@pytest.mark.parametrize(
    ("setting", "answer", "expected"),
    [
        ("retry", SILENCE, "NETWORK_ERROR"),
        ("dead-letter", SILENCE, "OUTCOME_UNKNOWN"),
        ("dead-letter", REFUSED_PORT, "NETWORK_ERROR"),
        ("dead-letter", BUSY, "META_SERVER_ERROR"),
    ],
)
async def test_a_send_without_an_answer_is_left_to_an_operator_if_so_set(
    setting: OnUnknown, answer: httpx.Response | Exception, expected: str
) -> None:
    assert (await World(answer, on_unknown=setting).failed()).failure.rule.name == expected


async def test_a_try_is_bounded_in_time_and_known_not_to_have_sent() -> None:
    world = World(bound_s=0.01)

    async def hang(_tenant_id: object) -> None:
        await asyncio.Event().wait()

    world.provider.get = hang  # type: ignore[method-assign,assignment]
    failed = await world.failed(message())
    assert failed.failure.rule.name == "INTERNAL_ERROR"
    assert (failed.failure.certainty, failed.sends) == (Certainty.NOT_SENT, 0)
