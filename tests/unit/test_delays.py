from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract import delays
from stream.contract.queues import INTAKE_QUEUE


def matches(pattern: str, key: str) -> bool:
    """AMQP's topic rule: `*` is one word, `#` is any number of words, none included."""

    def match(wanted: list[str], words: list[str]) -> bool:
        if not wanted:
            return not words
        if wanted[0] == "#":
            return any(match(wanted[1:], words[skipped:]) for skipped in range(len(words) + 1))
        return bool(words) and wanted[0] in {"*", words[0]} and match(wanted[1:], words[1:])

    return match(pattern.split("."), key.split("."))


def journey(delay_s: float, destination: str = INTAKE_QUEUE) -> tuple[list[int], str]:
    """Follow a message through the levels' bindings: the levels that held it, and the exchange it left by."""
    exchange, key = delays.route(delay_s, destination)
    levels = {delays.level_name(level): level for level in range(delays.LEVELS)}
    held: list[int] = []
    while exchange in levels:
        level = levels[exchange]
        hold = matches(delays.hold_pattern(level), key)
        assert hold != matches(delays.pass_pattern(level), key), "a message takes exactly one of the two ways"
        held += [level] if hold else []
        exchange = delays.next_exchange(level)
    return held, exchange


@pytest.mark.parametrize(
    ("delay_s", "units"),
    [
        (-5, 1),
        (0, 1),
        (0.001, 1),
        (0.25, 1),
        (0.3, 2),
        (1, 4),
        (10.75, 43),
        (60, 240),
        (300, 1200),
        (4095.75, 16383),
        (4096, 16383),
        (99999, 16383),
    ],
)
def test_a_delay_is_rounded_up_to_the_unit_and_bounded(delay_s: float, units: int) -> None:
    held, _ = journey(delay_s)
    assert sum(delays.level_ttl_ms(level) for level in held) == units * 250


def test_the_key_is_the_delay_in_binary_and_the_destination() -> None:
    exchange, key = delays.route(10.75, INTAKE_QUEUE)
    assert exchange == "whatsapp-wait-05"
    assert key == "0.0.0.0.0.0.0.0.1.0.1.0.1.1.outbound-processed"


@given(units=st.integers(1, 2**14 - 1))
def test_a_message_is_held_by_the_levels_of_its_binary_digits_and_no_others(units: int) -> None:
    held, _ = journey(units * 0.25)
    assert held == [level for level in reversed(range(14)) if units >> level & 1]


@given(
    delay_s=st.floats(0, 5000),
    destination=st.sampled_from([INTAKE_QUEUE, "another-queue", "with.dots", "1.0.1", "outbound.processed.acme"]),
)
def test_a_message_leaves_for_its_destination(delay_s: float, destination: str) -> None:
    _, exchange = journey(delay_s, destination)
    _, key = delays.route(delay_s, destination)
    assert exchange == delays.DELIVERY_EXCHANGE
    assert matches(delays.delivery_pattern(destination), key)


@given(delay_s=st.floats(0, 4095.75))
def test_a_message_waits_at_least_its_delay_and_less_than_a_unit_more(delay_s: float) -> None:
    held, _ = journey(delay_s)
    waited = sum(delays.level_ttl_ms(level) for level in held) / 1000
    assert delay_s <= waited < max(delay_s, 0.001) + 0.25


@given(units=st.integers(1, 2**14 - 1))
def test_a_message_enters_at_the_first_level_that_holds_it(units: int) -> None:
    exchange, _ = delays.route(units * 0.25, INTAKE_QUEUE)
    assert exchange == delays.level_name(journey(units * 0.25)[0][0])


def test_a_delivery_reaches_no_other_queue() -> None:
    _, key = delays.route(1, "outbound-processed")
    assert not matches(delays.delivery_pattern("processed"), key)
    assert not matches(delays.delivery_pattern("outbound-failed"), key)


def test_the_levels_reach_from_a_quarter_second_to_68_minutes() -> None:
    ttls = [delays.level_ttl_ms(level) for level in range(delays.LEVELS)]
    assert ttls[0] == 250
    assert sum(ttls) == delays.LONGEST_S * 1000 == 4_095_750
