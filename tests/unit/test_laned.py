"""When a tenant's messages go to its lane, and when they stop to."""

from __future__ import annotations

import pytest

from stream.traffic.laned import CALM_S, PATIENCE_S, QUIET_S, SORTED_PER_S, Laned, sorting_pays

SLOW_S = PATIENCE_S + 0.01


def test_a_tenant_is_laned_once_and_the_others_are_not() -> None:
    laned = Laned()
    assert (laned.add("noisy", now=0), laned.add("noisy", now=1)) == (True, False)
    assert (laned.has("noisy", now=2), laned.has("quiet", now=2), laned.count(now=2)) == (True, False, 1)


@pytest.mark.parametrize(
    ("started", "waited_s", "pays"),
    [
        (SORTED_PER_S, 0.0, False),  # the intake moves on faster than it could be sorted
        (SORTED_PER_S - 1, 0.0, True),
        (SORTED_PER_S, PATIENCE_S, True),  # but not for this one
        (SORTED_PER_S, PATIENCE_S - 0.01, False),
    ],
)
def test_sorting_pays_when_the_intake_is_slow_or_a_message_waits_for_long(
    started: int,
    waited_s: float,
    pays: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert sorting_pays(started, 1.0, waited_s) == pays


def test_a_lane_that_stays_quick_lets_its_tenant_back_and_one_that_was_slow_does_not() -> None:
    laned = Laned()
    laned.add("noisy", now=0)
    laned.came("noisy", 0, now=CALM_S)
    assert laned.has("noisy", now=1)
    laned.came("noisy", SLOW_S, now=2)
    laned.came("noisy", PATIENCE_S, now=2 + CALM_S)
    assert laned.has("noisy", now=3)
    laned.came("noisy", PATIENCE_S, now=2.1 + CALM_S)
    assert not laned.has("noisy", now=4)


def test_a_lane_that_is_slow_lanes_a_tenant_that_another_replica_moved() -> None:
    laned = Laned()
    laned.came("noisy", SLOW_S, now=0)
    assert laned.has("noisy", now=0)


def test_a_tenant_of_which_nothing_was_in_the_lanes_for_a_while_is_let_back() -> None:
    laned = Laned()
    laned.add("noisy", now=0)
    assert laned.has("noisy", now=QUIET_S)
    assert not laned.has("noisy", now=QUIET_S + 0.01)
    assert laned.count(now=QUIET_S + 0.01) == 0


def test_a_tenant_whose_messages_go_on_to_its_lane_stays_laned() -> None:
    laned = Laned()
    laned.add("noisy", now=0)
    laned.seen("noisy", now=QUIET_S)
    assert laned.has("noisy", now=QUIET_S + 1)
    laned.seen("quiet", now=QUIET_S)
    assert not laned.has("quiet", now=QUIET_S)


def test_a_message_from_a_lane_that_has_not_ended_keeps_its_tenant_laned() -> None:
    laned = Laned()
    laned.came("noisy", SLOW_S, now=0)
    laned.came("noisy", SLOW_S, now=1)
    laned.left("noisy", now=50)
    assert laned.has("noisy", now=100)
    laned.left("noisy", now=100)
    assert laned.has("noisy", now=100 + QUIET_S)
    assert not laned.has("noisy", now=101 + QUIET_S)


def test_the_end_of_a_message_lanes_nobody_again() -> None:
    laned = Laned()
    laned.came("noisy", 0, now=0)
    laned.left("noisy", now=1)
    assert laned.count(now=1) == 0
