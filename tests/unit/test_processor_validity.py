"""A message whose time is up is not sent, wherever in its try that happens."""

from __future__ import annotations

from typing import Any

import pytest

from stream.delivery.claim import AlreadySent, BeingSent, Granted, InDoubt, NoCredentials
from stream.delivery.outcome import Busy, Duplicate, Sent
from stream.meta.failure import Certainty
from stream.tenants.credentials import TenantServiceUnavailable
from tests.unit.doubles import message
from tests.unit.processing import NOW, OK, REFUSED, World
from tests.unit.test_processor_claims import FIRST

EXPIRED = message(validUntil=NOW.isoformat())
SOON_EXPIRED = message(validUntil=NOW.timestamp() + 1)


def after(world: World, owner: Any, name: str) -> None:
    """Let time pass while this is awaited."""
    real = getattr(owner, name)

    async def slow(*args: Any, **options: Any) -> Any:
        answer = await real(*args, **options)
        world.pass_time()
        return answer

    setattr(owner, name, slow)


async def test_a_message_is_sent_until_its_last_moment() -> None:
    world = World(OK)
    assert isinstance(await world.process(SOON_EXPIRED), Sent)
    assert world.meta.leave_within_s == 1  # the wait for a connection counts too


@pytest.mark.parametrize("claims", [(Granted(b"cached"),), ()], ids=["cached", "not-cached"])
async def test_a_message_that_comes_too_late_is_not_sent_and_needs_no_credentials(claims: tuple[Granted, ...]) -> None:
    world = World(claims=claims)
    failed = await world.failed(EXPIRED)
    assert (failed.failure.rule.name, failed.failure.certainty) == ("MESSAGE_EXPIRED", Certainty.NOT_SENT)
    assert (failed.sends, world.requests, world.provider.asked) == (0, [], [])
    assert world.ledger.story == (["claimed", "released"] if claims else [])


async def test_a_message_whose_time_ends_during_the_claim_is_not_sent_and_gives_its_claim_back() -> None:
    world = World(claims=(Granted(b"cached"),))
    after(world, world.claims, "claim")
    assert (await world.failed(SOON_EXPIRED)).failure.rule.name == "MESSAGE_EXPIRED"
    assert (world.requests, world.ledger.story) == ([], ["claimed", "released"])


async def test_a_message_whose_time_ends_while_its_credentials_are_fetched_is_not_sent() -> None:
    world = World()
    after(world, world.provider, "get")
    assert (await world.failed(SOON_EXPIRED)).failure.rule.name == "MESSAGE_EXPIRED"
    assert (world.requests, world.ledger.story) == ([], ["claimed", "released"])


async def test_a_message_whose_time_ends_while_its_credentials_are_refreshed_is_not_sent_again() -> None:
    world = World(REFUSED, OK)
    after(world, world.provider, "forget")
    failed = await world.failed(SOON_EXPIRED)
    assert (failed.failure.rule.name, failed.failure.detail) == ("MESSAGE_EXPIRED", "AUTH_ERROR: expired")
    assert (failed.sends, len(world.requests)) == (1, 1)
    assert world.ledger.story[-1] == "released"


async def test_a_send_before_that_got_no_answer_stays_in_doubt_when_the_time_is_up() -> None:
    world = World(claims=(Granted(b"cached", after_unknown="replica-1"),))
    failed = await world.failed(EXPIRED)
    assert (failed.failure.rule.name, failed.after_unknown) == ("MESSAGE_EXPIRED", True)
    assert world.ledger.story == ["claimed", "released"]  # the ledger keeps an earlier doubt


async def test_what_the_ledger_knows_of_a_message_is_true_after_its_validity_too() -> None:
    assert await World(claims=(AlreadySent(FIRST),)).process(EXPIRED) == Duplicate(FIRST)
    assert await World(claims=(BeingSent(3.5),)).process(EXPIRED) == Busy(3.5)
    assert (await World(claims=(InDoubt("replica-1"),)).failed(EXPIRED)).failure.rule.name == "OUTCOME_UNKNOWN"


async def test_credentials_that_cannot_be_had_are_the_reason_as_long_as_there_is_time() -> None:
    world = World(error=TenantServiceUnavailable("away"), claims=(NoCredentials(),))
    assert (await world.failed(SOON_EXPIRED)).failure.rule.name == "TENANT_SERVICE_UNAVAILABLE"
