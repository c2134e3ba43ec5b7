"""How many slots one tenant gets, alone and beside others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.traffic.shares import Shares, Slot


def regular_slots(shares: Shares, tenant: str) -> int:
    """How many regular slots a tenant gets when it takes all that it may."""
    taken = 0
    while shares.take_regular(tenant):
        taken += 1
    return taken


@pytest.mark.parametrize(
    ("slots", "share", "alone"),
    [(10, 0.5, 5), (10, 1.0, 10), (10, 0.2, 2), (10, 0.01, 1), (1, 0.5, 1), (2, 0.5, 1), (200, 0.5, 100)],
)
def test_one_tenant_alone_gets_its_share_and_always_one(slots: int, share: float, alone: int) -> None:
    assert regular_slots(Shares(slots, share), "noisy") == alone


def test_tenants_that_hang_one_after_the_other_leave_a_slot_for_the_next() -> None:
    shares = Shares(10, 0.5)
    assert [regular_slots(shares, tenant) for tenant in ("a", "b", "c")] == [5, 3, 1]
    assert shares.take_regular("newcomer")


@pytest.mark.parametrize(("tenants", "each"), [(1, 50), (3, 25), (9, 10)])
def test_busy_tenants_get_one_part_each_and_one_part_stays_free(tenants: int, each: int) -> None:
    shares, taken = Shares(100, 0.5), [0] * tenants
    for _ in range(100):
        for tenant in range(tenants):
            taken[tenant] += shares.take_regular(str(tenant))
    assert taken == [each] * tenants


def test_beyond_its_share_a_tenant_gets_half_of_the_spare_slots_and_lanes_all_of_them() -> None:
    shares = Shares(4, 0.5)
    got = [shares.take("noisy") for _ in range(5)]
    assert got == [Slot.REGULAR, Slot.REGULAR, Slot.OVERFLOW, Slot.OVERFLOW, None]
    assert [shares.take_lane("noisy") for _ in range(3)] == [True, True, False]
    assert not shares.take_regular_from_lane("noisy")
    assert shares.take("quiet") is Slot.REGULAR
    shares.give_back(Slot.OVERFLOW, "noisy")
    assert shares.take_lane("noisy")
    shares.give_back(Slot.LANE, "noisy")
    assert shares.take("noisy") is Slot.OVERFLOW


def test_a_message_of_a_lane_gets_a_regular_slot_while_all_that_its_tenant_holds_is_within_its_share() -> None:
    shares = Shares(4, 0.5)
    assert [shares.take_lane("slow") for _ in range(5)] == [True, True, True, True, False]
    assert not shares.take_regular_from_lane("slow")
    assert [shares.take_regular_from_lane("other") for _ in range(3)] == [True, True, False]
    assert shares.take("newcomer") is Slot.REGULAR


def test_a_tenant_that_holds_nothing_gets_any_spare_slot_when_the_regular_ones_are_taken() -> None:
    shares = Shares(2, 1)
    assert [shares.take("noisy") for _ in range(4)] == [Slot.REGULAR, Slot.REGULAR, Slot.OVERFLOW, None]
    assert shares.take("quiet") is Slot.OVERFLOW
    assert (shares.holds("quiet"), shares.holds("other")) == (True, False)
    assert shares.take("other") is None
    shares.give_back(Slot.OVERFLOW, "quiet")
    assert not shares.holds("quiet")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())), st.integers(1, 20), st.floats(0.01, 1))
def test_what_is_given_back_can_be_taken_again(steps: list[tuple[str, bool]], slots: int, share: float) -> None:
    shares, held = Shares(slots, share), list[tuple[Slot, str]]()
    for tenant, wants in steps:
        if wants and (slot := shares.take(tenant)):
            held.append((slot, tenant))
        elif held:
            shares.give_back(*held.pop())
        assert sum(slot is Slot.REGULAR for slot, _ in held) <= slots
        assert sum(slot is Slot.OVERFLOW for slot, _ in held) <= slots
    for slot, tenant in held:
        shares.give_back(slot, tenant)
    assert vars(shares) == vars(Shares(slots, share))
