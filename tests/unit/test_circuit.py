"""One circuit, state by state."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from stream.traffic.circuit import (
    LONGEST_OPEN_MS,
    Circuit,
    Failure,
    Rules,
    State,
    Wait,
    ask,
    fail,
    give_back,
    opened_by_hand,
    replaced,
    spread_ms,
    succeed,
)

RULES = Rules(failures=3, open_ms=60_000, lease_ms=15_000)
AUTH = "AUTH_ERROR"
HEALTHY = Circuit()
TROUBLED = Circuit(State.CLOSED, 2, 500, reason=AUTH, token="t1", owner="b")
OPEN = Circuit(State.OPEN, 3, 500, ends=61_000, open_ms=60_000, reason=AUTH, token="t1", owner="c")
PROBED = replace(OPEN, state=State.HALF_OPEN, owner="p", ends=76_000, probes=1)
BY_HAND = opened_by_hand(OPEN, "maintenance", 1_000)


@pytest.mark.parametrize(
    ("circuit", "owner", "now", "answer"),
    [
        (HEALTHY, "x", 1_000, HEALTHY),
        (TROUBLED, "x", 1_000, TROUBLED),
        (OPEN, "x", 1_000, Wait(60_000, 10_000)),
        (OPEN, "c", 60_999, Wait(1, 10_000)),
        (OPEN, "p", 61_000, PROBED),
        (OPEN, "p", 999, replace(PROBED, ends=15_999)),
        (PROBED, "x", 75_999, Wait(1_000, 2_000)),
        (PROBED, "p", 62_000, replace(PROBED, ends=77_000)),
        (PROBED, "x", 76_000, replace(PROBED, owner="x", ends=91_000, probes=2)),
        (BY_HAND, "x", 1_000_000_000, Wait(60_000, 10_000)),
    ],
    ids=[
        "healthy",
        "troubled",
        "open",
        "open-own",
        "probe",
        "clock-stepped-back",
        "probing",
        "probe-again",
        "probe-died",
        "by-hand",
    ],
)
def test_who_may_go(circuit: Circuit, owner: str, now: int, answer: Circuit | Wait) -> None:
    assert ask(circuit, owner, now, RULES.lease_ms) == answer


@pytest.mark.parametrize(
    ("circuit", "owner", "after"),
    [
        (HEALTHY, "a", Circuit(State.CLOSED, 1, 1_000, reason=AUTH, token="t1", owner="a")),
        (TROUBLED, "c", OPEN),
        (TROUBLED, "b", TROUBLED),
        (OPEN, "c", OPEN),
        (OPEN, "late", replace(OPEN, failures=4)),
        (PROBED, "late", replace(PROBED, failures=4)),
        (PROBED, "p", replace(OPEN, failures=4, owner="p", open_ms=120_000, ends=121_000)),
        (BY_HAND, "late", replace(BY_HAND, failures=4)),
    ],
    ids=["first", "opens", "told-twice", "opened-it-told-twice", "late", "late-in-half-open", "probe", "by-hand"],
)
def test_what_a_failure_does(circuit: Circuit, owner: str, after: Circuit) -> None:
    assert fail(circuit, Failure(owner, AUTH, "t1"), 1_000, RULES) == after


@pytest.mark.parametrize(
    ("circuit", "owner", "after"),
    [
        (HEALTHY, "a", HEALTHY),
        (TROUBLED, "a", HEALTHY),
        (OPEN, "c", OPEN),
        (PROBED, "a", PROBED),
        (PROBED, "p", HEALTHY),
    ],
)
def test_a_success_ends_a_row_of_failures_and_a_probes_success_closes(
    circuit: Circuit, owner: str, after: Circuit
) -> None:
    assert succeed(circuit, owner) == after


def test_an_open_time_is_doubled_up_to_ten_minutes() -> None:
    times = []
    circuit = OPEN
    for probe in "abcdef":
        asked = ask(circuit, probe, circuit.ends, RULES.lease_ms)
        assert isinstance(asked, Circuit)
        circuit = fail(asked, Failure(probe, AUTH), circuit.ends, RULES)
        times.append(circuit.open_ms)
    assert times == [120_000, 240_000, 480_000, LONGEST_OPEN_MS, LONGEST_OPEN_MS, LONGEST_OPEN_MS]


def test_a_probe_that_says_nothing_lets_the_next_one_go_at_once() -> None:
    assert give_back(PROBED, "p", 70_000) == replace(OPEN, owner="p", ends=70_000, probes=1)
    assert give_back(PROBED, "x", 70_000) == PROBED


@pytest.mark.parametrize("circuit", [TROUBLED, OPEN, PROBED])
def test_another_token_closes_what_a_refused_token_opened(circuit: Circuit) -> None:
    assert replaced(circuit, "t2") == HEALTHY
    assert replaced(circuit, "t1") == circuit
    assert replaced(replace(circuit, token=""), "t2") == replace(circuit, token="")
    assert replaced(replace(circuit, by_hand=True), "t2").by_hand


def test_those_who_wait_come_back_over_a_sixth_of_the_time_from_one_second_to_one_minute() -> None:
    assert [spread_ms(open_ms) for open_ms in (100, 60_000, LONGEST_OPEN_MS)] == [1_000, 10_000, 60_000]
    assert [Wait(1_000, 2_000).length_s(chance) for chance in (0, 0.5)] == [1.0, 2.0]
