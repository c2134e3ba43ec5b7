"""A message that has to wait for its turn within a rate limit: for a moment at once, for longer on the broker."""

from __future__ import annotations

import pytest

from stream.delivery.claim import Granted, Paced
from stream.delivery.outcome import Busy, Sent
from tests.unit.processing import OK, REFUSED, World

CLAIMED = Granted(b"token")


async def test_a_short_wait_is_slept_and_the_message_sent_in_the_same_try() -> None:
    world = World(OK, claims=(Paced(0.049, "phone_number"), CLAIMED))
    assert isinstance(await world.process(), Sent)
    assert world.sleeps.asked == pytest.approx([0.05])


@pytest.mark.parametrize(
    ("claims", "left_s", "slept"),
    [
        ((Paced(0.05, "phone_number"),), 0.05, []),
        ((Paced(0.01, "phone_number"), Paced(0.02, "pair")), 0.02, [0.011]),
    ],
    ids=["long", "short again"],
)
async def test_a_longer_wait_ends_the_try_without_a_request_a_claim_or_a_retry(
    claims: tuple[Paced, ...], left_s: float, slept: list[float]
) -> None:
    world = World(claims=claims)
    outcome = await world.process()
    assert isinstance(outcome, Busy)
    assert (outcome.left_s, outcome.waits_for) == (left_s, "pace")
    assert outcome.reason.startswith("the rate limit of its phone number")
    assert (world.requests, world.ledger.story) == ([], [])
    assert world.sleeps.asked == pytest.approx(slept)


async def test_the_resend_after_new_credentials_has_had_its_turn() -> None:
    world = World(REFUSED, OK, claims=(CLAIMED,))
    await world.process()
    assert world.claims.left_s[0] > 0
    assert world.claims.left_s[1:] == [0, 0]
