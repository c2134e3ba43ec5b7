from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.retry import RetryHandler

ALMOST_ONE = 0.999
ATTEMPTS = range(1, 8)


def delays(draw: float = 0.0, **options: float) -> list[float]:
    handler = RetryHandler(draw=lambda: draw)
    return [handler.calculate_backoff(attempt, **options) for attempt in ATTEMPTS]


def test_it_doubles_five_times_and_then_waits_a_minute() -> None:
    assert delays() == [1, 2, 4, 8, 16, 60, 60]


def test_jitter_adds_up_to_a_second_to_each_delay() -> None:
    assert delays(ALMOST_ONE) == pytest.approx([1.999, 2.999, 4.999, 8.999, 16.999, 60.999, 60.999])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"base_delay_s": 10}, [10, 20, 40, 60, 60, 60, 60]),
        ({"base_delay_s": 1, "growth": 4, "cap_s": 300}, [1, 4, 16, 64, 256, 300, 300]),
        ({"base_delay_s": 600, "growth": 1, "cap_s": 600}, [600] * 7),
        ({"base_delay_s": 90}, [60] * 7),
        ({"cap_s": 5}, [1, 2, 4, 5, 5, 5, 5]),
        ({"base_delay_s": 0}, [0] * 7),
    ],
)
def test_base_growth_and_cap_can_be_chosen(options: dict[str, float], expected: list[float]) -> None:
    assert delays(**options) == expected


def test_at_once_means_at_once_even_with_jitter() -> None:
    assert delays(ALMOST_ONE, base_delay_s=0) == [0] * 7


def test_a_handlers_own_base_cap_and_jitter_are_the_defaults() -> None:
    handler = RetryHandler(base_delay_s=3, cap_s=20, jitter_s=10, draw=lambda: 0.5)
    assert [handler.calculate_backoff(attempt) for attempt in ATTEMPTS] == [8, 11, 17, 25, 25, 25, 25]


def test_the_default_randomness_spreads_messages_that_failed_together() -> None:
    handler = RetryHandler()
    assert len({handler.calculate_backoff(1) for _ in range(20)}) > 1


@given(
    attempt=st.integers(-5, 10**9),
    base=st.floats(0, 1e6),
    growth=st.floats(1, 10),
    cap=st.floats(0, 1e6),
    draw=st.floats(0, ALMOST_ONE),
)
def test_no_attempt_waits_longer_than_the_cap_and_a_second(
    attempt: int, base: float, growth: float, cap: float, draw: float
) -> None:
    handler = RetryHandler(draw=lambda: draw)
    assert 0 <= handler.calculate_backoff(attempt, base_delay_s=base, growth=growth, cap_s=cap) <= cap + 1
