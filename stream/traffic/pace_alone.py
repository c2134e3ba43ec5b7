"""Pacing while Redis is away: each replica keeps the limits by itself, in memory, or lets messages wait.

With several replicas, more may be sent together than a limit allows: each of them keeps the whole limit.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal, TypeVar

import structlog

from stream.traffic.paces import MessageLimits
from stream.traffic.pacing import SECOND_US, How, Limit, Pace, Slowed, Use, Verdict, decide, slow_down, slowed

WithoutRedis = Literal["open", "closed"]

REMEMBERED: Final = 100_000  # limits, and messages with a slot, of the time that Redis is away
CLOSED_LOOK_US: Final = 5 * SECOND_US  # how often a message looks whether Redis is back
QUIET_S: Final = 60.0  # after so long without use, the next use is another outage

log = structlog.get_logger(__name__)

_Value = TypeVar("_Value")


class PaceAlone:
    """Paces the messages of this replica.

    Args:
        mode: `PACING_WITHOUT_REDIS`.
        counted: Called for each message that is paced here.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        mode: WithoutRedis,
        counted: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mode = mode
        self._counted = counted
        self._clock = clock
        self._used_at = float("-inf")
        self._paces: OrderedDict[str, Pace] = OrderedDict()
        self._slots: OrderedDict[str, tuple[int | None, ...]] = OrderedDict()

    def ask(self, message_key: str, limits: MessageLimits, left_us: int) -> Verdict:
        """Whether a message may go, as `stream.traffic.pacing.decide` says."""
        self._note_use()
        if self._mode == "closed":
            return Verdict(CLOSED_LOOK_US, -1, ())
        slots = self._slots.pop(message_key, (None,) * len(limits.keys))
        paces = [self._paces.get(key, Pace()) for key in limits.keys]
        uses = [Use(*each) for each in zip(limits.limits, paces, slots, strict=True)]
        verdict = decide(uses, int(self._clock() * SECOND_US), left_us)
        for key, use in zip(limits.keys, verdict.uses, strict=True):
            _keep(self._paces, key, use.pace)
        if verdict.wait_us:
            _keep(self._slots, message_key, tuple(use.slot for use in verdict.uses))
        return verdict

    def slow_down(self, key: str, limit: Limit, how: How, amount: int) -> Slowed:
        """Slow down a limit because Meta refused a send, as `stream.traffic.pacing.slow_down` says."""
        now, before = int(self._clock() * SECOND_US), self._paces.get(key, Pace())
        after = slow_down(how, limit, before, now, amount)
        _keep(self._paces, key, after)
        return slowed(limit, before, after, now)

    def _note_use(self) -> None:
        self._counted()
        now = self._clock()
        if now - self._used_at > QUIET_S:
            consequence = "each replica keeps the whole limit by itself" if self._mode == "open" else "messages wait"
            log.warning("pacing_without_redis", consequence=consequence)
        self._used_at = now


def _keep(kept: OrderedDict[str, _Value], key: str, value: _Value) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > REMEMBERED:
        kept.popitem(last=False)
