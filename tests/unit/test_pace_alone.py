"""Pacing while Redis is away."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from stream.traffic import pace_alone as module
from stream.traffic.pace_alone import CLOSED_LOOK_US, QUIET_S, PaceAlone, WithoutRedis
from stream.traffic.paces import MessageLimits
from stream.traffic.pacing import SECOND_US, UNLIMITED, Limit
from tests.unit.doubles import Clock

LIMITS = MessageLimits.of(("number", "tenant"), (Limit.of(2, SECOND_US), UNLIMITED))
VALID_US = 10**12


class Replica:
    """One that paces by itself."""

    def __init__(self, mode: WithoutRedis = "open") -> None:
        self.clock = Clock()
        self.counted = list[int]()
        self.pace = PaceAlone(mode, lambda: self.counted.append(1), clock=self.clock)

    def wait_s(self, key: str) -> float:
        return self.pace.ask(key, LIMITS, VALID_US).wait_us / SECOND_US


def test_each_replica_keeps_the_whole_limit_and_a_message_its_slot() -> None:
    replica = Replica()
    assert [replica.wait_s(key) for key in "abcd"] == pytest.approx([0, 0, 0.5, 1.0], abs=1e-5)
    replica.clock.now += 0.75
    assert replica.wait_s("d") == pytest.approx(0.25, abs=1e-5), "it came early, and keeps its slot"
    assert replica.wait_s("c") == 0, "it came late, and its slot is free"
    assert len(replica.counted) == 6


def test_with_closed_messages_wait_and_look_again() -> None:
    replica = Replica("closed")
    assert [replica.wait_s("a") for _ in range(3)] == [CLOSED_LOOK_US / SECOND_US] * 3
    assert len(replica.counted) == 3


def test_an_outage_is_said_once() -> None:
    replica = Replica()
    with capture_logs() as logs:
        for seconds in (0.0, QUIET_S, QUIET_S, QUIET_S + 1):
            replica.clock.now += seconds
            replica.wait_s("a")
    assert [line["event"] for line in logs] == ["pacing_without_redis"] * 2


def test_what_a_long_outage_leaves_behind_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    replica = Replica()
    for key in "abcdefgh":
        replica.wait_s(key)
    assert (len(replica.pace._slots), len(replica.pace._paces)) == (3, 2)
