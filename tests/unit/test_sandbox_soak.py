"""How a soak counts what became of its messages."""

from __future__ import annotations

from sandbox.records import Recorded
from sandbox.soak_load import Tally, count


def taken(*recipients: str) -> list[Recorded]:
    return [Recorded(10.0, 0.0, "v23.0", "1", "", "", b"", "", None, to, "accepted", "wamid.1") for to in recipients]


def test_a_message_that_was_neither_sent_nor_dead_lettered_is_lost() -> None:
    result = count(taken("16500000001"), Tally(published={"16500000000": 0, "16500000001": 0}), set())
    assert result.lost == {"soak-0"}
    assert not result.held


def test_a_message_that_was_sent_twice_needs_a_report() -> None:
    twice, tally = taken("16500000007", "16500000007"), Tally(began=8.0, published={"16500000007": 0})
    assert count(twice, tally, {"soak-8"}).untold == {"soak-7": [2.0, 2.0]}
    assert not count(twice, tally, {"soak-8"}).held
    told = count(twice, tally, {"soak-7"})
    assert (told.sent_once, told.sent_twice_and_told, told.held) == (0, 1, True)


def test_what_was_sent_while_redis_was_away_may_be_sent_twice_without_a_report() -> None:
    tally = Tally(published={"16500000007": 0}, redis_away=[(1.0, 2.0), (9.0, 11.0)])
    result = count(taken("16500000007", "16500000007"), tally, set())
    assert (result.unguarded, result.held) == (1, True)
