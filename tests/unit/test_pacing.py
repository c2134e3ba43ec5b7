"""GCRA with reserved slots, as a simulation: messages come, wait as they are told, and come back early or late."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.traffic.pacing import (
    CALM_US,
    HOLD_OFF_US,
    RECOVERY_US,
    SECOND_US,
    UNLIMITED,
    Limit,
    Pace,
    Use,
    Verdict,
    back_off,
    cut,
    decide,
    interval_us,
    pause,
)

T0 = 1_700_000_000 * SECOND_US
NUMBER = Limit.of(80, SECOND_US)
ALWAYS_VALID = 10**15

limits = st.builds(Limit, interval_us=st.integers(1, 2 * SECOND_US), span_us=st.integers(0, 3 * SECOND_US))
gaps = st.lists(st.integers(0, SECOND_US), min_size=1, max_size=60)
lateness = st.lists(st.integers(-SECOND_US, 5 * SECOND_US), min_size=1, max_size=20)


@dataclass
class Simulation:
    """Messages of one limit. The clock that they see may be off by `step` from the real one."""

    limit: Limit
    pace: Pace = field(default_factory=Pace)
    step: int = 0
    sent: list[int] = field(default_factory=list)
    waits: dict[int, int] = field(default_factory=dict)

    def run(self, arrivals: Iterable[int], late: Sequence[int], steps: Sequence[tuple[int, int]] = ()) -> None:
        """Let messages come at these moments; each return is late by the next of `late`; steps are (when, how far)."""
        turn, slots = itertools.cycle(late), dict[int, int | None]()
        coming = [(moment, index) for index, moment in enumerate(arrivals)]
        changes = sorted(steps)
        heapq.heapify(coming)
        for _ in range(10_000):
            if not coming:
                return
            moment, index = heapq.heappop(coming)
            while changes and changes[0][0] <= moment:
                self.step += changes.pop(0)[1]
            verdict = self._ask(slots.get(index), moment)
            slots[index] = verdict.uses[0].slot
            if verdict.wait_us:
                self.waits[index] = self.waits.get(index, 0) + 1
                heapq.heappush(coming, (moment + max(1, verdict.wait_us // 2, verdict.wait_us + next(turn)), index))
            else:
                self.sent.append(moment)
        raise AssertionError("messages wait for ever")

    def _ask(self, slot: int | None, moment: int) -> Verdict:
        verdict = decide([Use(self.limit, self.pace, slot)], moment + self.step, ALWAYS_VALID)
        self.pace = verdict.uses[0].pace
        return verdict

    def most_over(self) -> int:
        """How much more time the sends of the fullest window take than the limit gives it; at most 0 if it holds."""
        interval, burst = self.limit.interval_us, max(self.limit.span_us, self.limit.interval_us)
        ahead, over = min(self.sent), -burst
        for index, moment in enumerate(sorted(self.sent)):
            ahead = max(ahead, moment - index * interval)  # the fullest window up to here begins where this is greatest
            over = max(over, (index + 1) * interval - moment + ahead - burst)
        return over


def starts(gap: list[int]) -> list[int]:
    return [T0 + moment for moment in itertools.accumulate(gap)]


@given(limit=limits, gap=gaps, late=lateness)
@example(limit=Limit(SECOND_US, SECOND_US // 2), gap=[0] * 5, late=[0])
def test_no_window_has_more_than_the_burst_and_the_rate_however_late_messages_come(
    limit: Limit, gap: list[int], late: list[int]
) -> None:
    simulation = Simulation(limit)
    simulation.run(starts(gap), late)
    assert len(simulation.sent) == len(gap)
    assert simulation.most_over() <= 0


@given(gap=gaps, late=lateness, steps=st.lists(st.tuples(st.integers(0, 20 * SECOND_US), st.integers(-9, 0))))
def test_a_clock_that_steps_back_lets_nothing_more_go_and_stops_nobody_for_ever(
    gap: list[int], late: list[int], steps: list[tuple[int, int]]
) -> None:
    simulation = Simulation(Limit.of(5, SECOND_US))
    simulation.run(starts(gap), late, [(T0 + when, seconds * SECOND_US) for when, seconds in steps])
    assert len(simulation.sent) == len(gap)
    assert simulation.most_over() <= 0


def test_a_clock_that_steps_back_by_an_hour_does_not_stop_a_number_for_an_hour() -> None:
    simulation = Simulation(NUMBER, Pace(sent=T0 + SECOND_US), step=-3600 * SECOND_US)
    simulation.run([T0] * 3, [0])
    assert simulation.sent == [T0 + turn * NUMBER.interval_us for turn in (1, 2, 3)]


@given(late=st.lists(st.integers(0, 400_000), min_size=1, max_size=50), rate=st.integers(20, 200))
def test_under_load_at_least_nine_tenths_of_the_limit_are_used_although_messages_come_back_late(
    late: list[int], rate: int
) -> None:
    simulation = Simulation(Limit.of(rate, SECOND_US))
    simulation.run([T0] * (rate * 6), late)
    seconds = (max(simulation.sent) - T0) / SECOND_US
    assert rate * 5 / seconds >= 0.9 * rate  # the first second's worth was the burst
    assert max(simulation.waits.values()) == 1, "who is on time waits once"


def test_messages_that_come_anew_wait_behind_all_that_have_reserved() -> None:
    simulation = Simulation(Limit(100, 100))
    simulation.run([T0] * 3 + [T0 + 150], [0])
    assert simulation.sent == [T0, T0 + 100, T0 + 200, T0 + 300]


def test_a_slot_that_nobody_uses_costs_one_interval_and_holds_nobody_up() -> None:
    reserved = decide([Use(Limit(100, 100), Pace(sent=T0 + 100))], T0, ALWAYS_VALID)
    assert reserved.wait_us == 100
    assert decide([Use(Limit(100, 100), reserved.uses[0].pace)], T0 + 200, ALWAYS_VALID).wait_us == 0


def test_a_message_that_comes_early_waits_the_rest_for_the_same_slot() -> None:
    pace, slot = Pace(sent=T0 + SECOND_US, due=T0 + 900), T0 + 600
    verdict = decide([Use(NUMBER, pace, slot)], T0, ALWAYS_VALID)
    assert (verdict.wait_us, verdict.uses) == (600, (Use(NUMBER, pace, slot),))


def test_a_message_whose_slot_does_not_conform_any_more_is_looked_at_like_a_new_one() -> None:
    pace = Pace(sent=T0 + SECOND_US, due=T0 + 30_000)
    verdict = decide([Use(NUMBER, pace, T0 - 1)], T0, ALWAYS_VALID)
    assert (verdict.wait_us, verdict.uses[0].slot) == (30_000, T0 + 30_000)


def test_a_wait_beyond_the_validity_reserves_nothing() -> None:
    use = Use(NUMBER, Pace(sent=T0 + SECOND_US, due=T0 + 60_000))
    assert decide([use], T0, 60_000).uses[0].pace.due == T0 + 60_000 + NUMBER.interval_us
    verdict = decide([use], T0, 59_999)
    assert (verdict.wait_us, verdict.uses) == (60_000, (use,))


def test_a_message_takes_from_all_of_its_limits_or_reserves_in_the_one_that_binds_longest() -> None:
    number, pair, off = Use(NUMBER), Use(Limit(6 * SECOND_US, 6 * SECOND_US)), Use(UNLIMITED)
    first = decide([number, pair, off], T0, ALWAYS_VALID)
    assert first.wait_us == 0
    assert [use.pace.sent for use in first.uses] == [T0 + 12_500, T0 + 6 * SECOND_US, 0]
    second = decide(first.uses, T0, ALWAYS_VALID)
    assert (second.wait_us, second.bound_by) == (6 * SECOND_US, 1)
    assert second.uses[0] == first.uses[0], "the number is not held up by a pair"
    full = [Use(NUMBER, Pace(sent=T0 + 7 * SECOND_US)), second.uses[1], off]
    third = decide(full, T0 + 6 * SECOND_US, ALWAYS_VALID)
    assert third.bound_by == 0
    assert third.uses[1] == second.uses[1], "the pair's slot stays reserved while the message waits for its number"
    last = decide(third.uses, T0 + 6 * SECOND_US + third.wait_us, ALWAYS_VALID)
    assert (last.wait_us, [use.slot for use in last.uses]) == (0, [None, None, None])


def test_a_limit_of_none_lets_all_go_and_still_pauses() -> None:
    left_over = Pace(sent=T0 + SECOND_US, due=T0 + SECOND_US)
    assert decide([Use(UNLIMITED, left_over, T0 + 5)], T0, ALWAYS_VALID).wait_us == 0
    verdict = decide([Use(UNLIMITED, pause(Pace(), T0, 700))], T0, ALWAYS_VALID)
    assert (verdict.wait_us, verdict.uses[0].slot) == (700, None)
    assert decide([], T0, ALWAYS_VALID).wait_us == 0


@given(moments=st.lists(st.integers(0, 2 * RECOVERY_US), min_size=1, max_size=8), took=st.integers(0, SECOND_US))
def test_a_cut_rate_stays_between_a_sixteenth_and_the_limit_and_only_grows_between_cuts(
    moments: list[int], took: int
) -> None:
    pace = Pace()
    for moment in sorted(moments):
        before = interval_us(NUMBER, pace, T0 + moment)
        pace = cut(NUMBER, pace, T0 + moment, took)
        intervals = [interval_us(NUMBER, pace, T0 + moment + later * SECOND_US) for later in range(0, 130, 5)]
        assert before <= intervals[0] <= 16 * NUMBER.interval_us
        assert intervals == sorted(intervals, reverse=True)
        assert intervals[-1] == NUMBER.interval_us


def test_a_refusal_halves_the_rate_and_a_minute_later_it_is_whole_again() -> None:
    pace = cut(NUMBER, Pace(), T0, 0)
    rates = [SECOND_US / interval_us(NUMBER, pace, T0 + seconds * SECOND_US) for seconds in (0, 30, 59, 60)]
    assert rates == pytest.approx([40, 60, 79.3, 80], abs=0.1)


def test_refusals_of_what_left_before_a_cut_or_right_after_it_do_not_cut_again() -> None:
    pace = cut(NUMBER, Pace(), T0, 0)
    assert cut(NUMBER, pace, T0 + 5 * SECOND_US, 4 * SECOND_US + 1) == pace
    assert cut(NUMBER, pace, T0 + HOLD_OFF_US - 1, 0) == pace
    again = cut(NUMBER, pace, T0 + HOLD_OFF_US, 0)
    assert again.cut_rate == pytest.approx(20, abs=0.5)
    assert cut(UNLIMITED, Pace(), T0, 0) == Pace()


def test_slots_that_were_reserved_before_a_cut_do_not_let_more_go_than_the_cut_rate() -> None:
    simulation = Simulation(Limit.of(50, SECOND_US))
    simulation.pace = Pace(sent=T0 + SECOND_US)
    slots = list[int]()
    for _ in range(100):
        verdict = simulation._ask(None, T0)
        slots.append(T0 + verdict.wait_us)
    simulation.pace = cut(simulation.limit, simulation.pace, T0, 0)
    gone = [slot for slot in slots if simulation._ask(slot, slot).wait_us == 0]
    assert 45 <= len(gone) <= 55  # of 100 in two seconds


def test_a_pair_that_is_refused_in_a_row_pauses_longer_each_time_and_a_calm_minute_ends_the_row() -> None:
    pace, now, pauses = Pace(), T0, list[float]()
    for _ in range(6):
        pace = back_off(pace, now)
        pauses.append((pace.resumes - now) / SECOND_US)
        now = pace.resumes
    assert pauses == [1, 4, 16, 64, 256, 300]
    assert back_off(pace, pace.resumes - 1) == pace, "it left before the pause began"
    assert back_off(pace, pace.resumes + CALM_US).refusals == 1


def test_a_pause_is_never_made_shorter() -> None:
    assert pause(pause(Pace(), T0, 900), T0, 100).resumes == T0 + 900


def test_a_pace_is_kept_for_as_long_as_it_says_something() -> None:
    assert Pace().ends == 0
    assert Pace(sent=7, due=9).ends == 9
    assert Pace(resumes=5).ends == 5
    assert Pace(resumes=5, refusals=1).ends == 5 + CALM_US
    assert Pace(cut_rate=40, cut_at=3).ends == 3 + RECOVERY_US
