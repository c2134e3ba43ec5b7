"""Slowing down because Meta refused a send for its rate: told to Redis, so that all replicas slow down together."""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.traffic.pace_alone import PaceAlone
from stream.traffic.pace_script import REFUSED
from stream.traffic.paces import NUMBER, MessageLimits, limit_name
from stream.traffic.pacing import HOLD_OFF_US, SECOND_US, How, Slowed

log = structlog.get_logger(__name__)

AFTER_CUT_S: Final = HOLD_OFF_US / SECOND_US  # Meta counts what a number sends by the second


class SlowDown(msgspec.Struct, frozen=True):
    """What a refusal asks for.

    Attributes:
        how: Cut a number's rate, let a pair back off, or pause.
        place: Which limit of the message.
        pause_s: How long, if it is a pause.
    """

    how: How
    place: int
    pause_s: float = 0.0


class SlowDowns:
    """Tells the limits about refusals.

    Args:
        link: Redis, which may be away: then this replica slows down alone.
        alone: Paces messages while it is.
    """

    def __init__(self, link: RedisLink, alone: PaceAlone) -> None:
        self._link = link
        self._alone = alone

    async def tell(self, limits: MessageLimits, slow_down: SlowDown, took_s: float, **who: str) -> float | None:
        """Slow down a limit of a message.

        Args:
            limits: The limits of the message.
            slow_down: What to do.
            took_s: How long the refused send took, in seconds.
            who: Whose limits they are, for the log.

        Returns:
            How long the message has to wait at least, in seconds; `None` if it has no such limit.
        """
        if slow_down.place >= len(limits.keys):
            return None
        key, limit = limits.keys[slow_down.place], limits.limits[slow_down.place]
        if slow_down.place == NUMBER and not limit.interval_us:
            return None
        amount = int((took_s if slow_down.how == "cut" else slow_down.pause_s) * SECOND_US)
        try:
            answer = await self._link.run(REFUSED, (key,), (slow_down.how, limit.interval_us, amount))
        except RedisAway:
            slowed = self._alone.slow_down(key, limit, slow_down.how, amount)
        else:
            slowed = Slowed(*answer)
        _report(slow_down, slowed, who)
        return AFTER_CUT_S if slow_down.how == "cut" else slowed.pause_us / SECOND_US


def _report(slow_down: SlowDown, slowed: Slowed, who: dict[str, str]) -> None:
    """Log each change once: many sends are refused at the same time."""
    before, after = (round(SECOND_US / each, 2) if each else 0 for each in (slowed.before_us, slowed.after_us))
    if after < before:
        log.warning("rate_cut", **who, fromPerSecond=before, toPerSecond=after)
    if slowed.begins:
        log.warning("paused", limit=limit_name(slow_down.place), **who, seconds=slowed.pause_us / SECOND_US)
