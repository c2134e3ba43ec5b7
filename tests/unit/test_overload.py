"""More messages than Meta takes: simulated with the worker's decisions, at a twentieth of the numbers."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush

import pytest

from stream.contract import delays
from stream.contract.headers import History
from stream.contract.validity import Validity
from stream.delivery.decision import DeadLetter, RetryAfter, RetryPolicy, decide
from stream.delivery.outcome import Failed
from stream.meta.failure import Failure
from stream.retry import RetryHandler

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
MESSAGES, PUBLISHED_PER_S, TAKEN_PER_S = 2_500, 50, 4  # of 50,000 at 1,000 a second, where a number may send 80


def dead_lettered(name: str, throttles: int | None, *, valid_for: timedelta = timedelta(days=1)) -> Counter[str]:
    """What becomes of them, by error type; Meta takes the first ones of each second and throttles the others."""
    draw = random.Random(4711).random
    policy = RetryPolicy(failures=3, throttles=throttles, backoff=RetryHandler(draw=draw))
    throttled, taken, ends = Failed(Failure.of(name, "slower"), sends=1), Counter[int](), Counter[str]()
    queue = [(number / PUBLISHED_PER_S, number, History(START)) for number in range(MESSAGES)]
    heapify(queue)
    while queue:
        at, number, history = heappop(queue)
        if taken[int(at)] < TAKEN_PER_S:
            taken[int(at)] += 1
            continue
        first_seen = START + timedelta(seconds=number / PUBLISHED_PER_S)
        now, validity = START + timedelta(seconds=at), Validity(first_seen + valid_for)
        match decide(throttled, history, policy, validity=validity, now=now):
            case RetryAfter(_, delay_s, after):
                heappush(queue, (at + delays.held_s(delay_s), number, after))
            case DeadLetter(failure):
                ends[failure.rule.name] += 1
    assert taken.total() + ends.total() == MESSAGES
    return ends


@pytest.mark.parametrize("name", ["RATE_LIMIT", "PAIR_RATE_LIMIT"])
def test_throttling_alone_dead_letters_no_valid_message(name: str) -> None:
    assert dead_lettered(name, throttles=None) == Counter()


def test_a_count_would_dead_letter_many_of_them() -> None:
    assert dead_lettered("RATE_LIMIT", throttles=10)["RATE_LIMIT"] > MESSAGES / 10


def test_messages_that_are_valid_for_less_time_than_meta_needs_end_with_their_validity() -> None:
    ends = dead_lettered("RATE_LIMIT", throttles=None, valid_for=timedelta(minutes=5))
    assert set(ends) == {"MESSAGE_EXPIRED"}
    assert ends["MESSAGE_EXPIRED"] < MESSAGES * 0.6  # Meta took the others in time
