"""The pace of sends: GCRA with reserved slots. Pure: values in, values out; the specification of the Lua.

A limit keeps two moments. `sent` is the theoretical arrival time of GCRA: each send moves it on by one interval, and a
send conforms while it is less than the limit's span ahead of the clock. So in any window of t seconds, at most
burst + rate · t messages are sent, whoever sends them and however late they come. `due` is where the next slot begins:
a message that may not go now reserves that slot, waits until then, and goes if it conforms; who comes anew waits behind
all slots that are reserved. A slot that nobody uses costs one interval of time, and nothing waits for it.

A slot that is used up to one span late still conforms, since nobody has sent in its place. One that does not, because
it is later, or the rate was cut since, is looked at again like a message that comes anew.

All moments and times are in microseconds, on Redis' clock. When that steps back, nothing is sent that would not have
been sent without the step, and `sent` is never trusted further ahead than a send can move it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

SECOND_US: Final = 1_000_000
RECOVERY_US: Final = 120 * SECOND_US  # a cut rate grows by the whole limit in this time: a half is back in a minute
LEAST_PART: Final = 16  # a rate is not cut below this part of its limit
HOLD_OFF_US: Final = SECOND_US  # Meta still counts what was sent in the second before a cut
PAIR_GROWTH: Final = 4  # Meta's advice for a pair: 4^n seconds
LONGEST_PAIR_PAUSE_US: Final = 300 * SECOND_US  # where waiting longer stops helping a customer
CALM_US: Final = 60 * SECOND_US  # a pair that was not refused for so long after its pause begins again at one second


How = Literal["cut", "back_off", "pause"]


class Limit(msgspec.Struct, frozen=True):
    """So many sends at once as intervals fit into the span, then one each interval.

    Attributes:
        interval_us: The time of one send; 0 is no limit.
        span_us: The time of all sends that may be made at once.
    """

    interval_us: int
    span_us: int

    @classmethod
    def of(cls, sends: float, per_us: int) -> Limit:
        """At most `sends` in `per_us`, all of them at once if need be; 0 is no limit."""
        return cls(math.ceil(per_us / sends), per_us) if sends else UNLIMITED


UNLIMITED: Final = Limit(0, 0)


class Pace(msgspec.Struct, frozen=True, array_like=True):
    """How far a limit is used; the default is one that was not used for long, of which nothing is kept.

    Attributes:
        sent: Until when the sends so far take the time of the limit.
        due: Where the next reserved slot begins.
        resumes: Until when nothing may go.
        cut_rate: Sends per second that were left after the last cut; 0: never cut.
        cut_at: When that was.
        refusals: How often it was refused in a row, for a pair.
    """

    sent: int = 0
    due: int = 0
    resumes: int = 0
    cut_rate: float = 0
    cut_at: int = 0
    refusals: int = 0

    @property
    def ends(self) -> int:
        """From when on it says nothing any more."""
        calm = self.resumes + CALM_US if self.refusals else self.resumes
        recovered = self.cut_at + RECOVERY_US if self.cut_at else 0
        return max(self.sent, self.due, calm, recovered)


class Use(msgspec.Struct, frozen=True):
    """One of the limits of a message.

    Attributes:
        limit: The limit.
        pace: How far it is used.
        slot: When the message may go, if it has reserved that.
    """

    limit: Limit
    pace: Pace = Pace()
    slot: int | None = None


class Verdict(msgspec.Struct, frozen=True):
    """Whether a message may go.

    Attributes:
        wait_us: How long it has to wait; 0: it goes.
        bound_by: Which of its limits binds: its position; -1 if none.
        uses: Its limits afterwards.
    """

    wait_us: int
    bound_by: int
    uses: tuple[Use, ...]


class Slowed(msgspec.Struct, frozen=True):
    """What a refusal has changed.

    Attributes:
        pause_us: How long nothing may go.
        before_us: The time of one send before.
        after_us: The time of one send now.
        begins: 1 if it is a pause that was none before.
    """

    pause_us: int
    before_us: int
    after_us: int
    begins: int


def interval_us(limit: Limit, pace: Pace, now: int) -> int:
    """The time of one send now: longer after a cut, and shorter again with the time since."""
    if not (limit.interval_us and pace.cut_rate):
        return limit.interval_us
    ceiling = SECOND_US / limit.interval_us
    rate = pace.cut_rate + ceiling * max(0, now - pace.cut_at) / RECOVERY_US
    return limit.interval_us if rate >= ceiling else math.ceil(SECOND_US / rate)


def ready_at(use: Use, now: int) -> int:
    """When its message may go as far as this limit is concerned; now, or before, if it may go now."""
    limit, pace, slot = use.limit, use.pace, use.slot
    if not limit.interval_us:
        return pace.resumes
    interval = interval_us(limit, pace, now)
    conforms = pace.sent - max(0, limit.span_us - interval)
    if slot is not None and (slot > now or max(conforms, pace.resumes) <= now):
        return max(slot, pace.resumes)
    return max(conforms, pace.resumes, pace.due)


def decide(uses: Sequence[Use], now: int, left_us: int) -> Verdict:
    """Whether a message may go within all of its limits: then it takes from all. Else it reserves in one.

    That is the one that makes it wait longest: a slot of another limit would be over long before. The others are asked
    again when it comes back.

    Args:
        uses: The limits of the message.
        now: The time.
        left_us: How long the message is valid. A longer wait reserves nothing.
    """
    trusted = [_trusted(use, now) for use in uses]
    moments = [ready_at(use, now) for use in trusted]
    ready = max(moments, default=now)
    if ready <= now:
        return Verdict(0, -1, tuple(_taken(use, now) for use in trusted))
    bound_by = moments.index(ready)
    after = list(uses)
    if ready - now <= left_us and _needs_slot(uses[bound_by], now):
        after[bound_by] = _reserved(trusted[bound_by], ready, now)
    return Verdict(ready - now, bound_by, tuple(after))


def _trusted(use: Use, now: int) -> Use:
    """No send moves `sent` further ahead than this: if it is, the clock has stepped back."""
    longest = now + max(use.limit.span_us, interval_us(use.limit, use.pace, now))
    return use if use.pace.sent <= longest else Use(use.limit, replace(use.pace, sent=longest), use.slot)


def _taken(use: Use, now: int) -> Use:
    if not use.limit.interval_us:
        return Use(use.limit, use.pace)
    interval = interval_us(use.limit, use.pace, now)
    return Use(use.limit, replace(use.pace, sent=max(use.pace.sent, now) + interval))


def _needs_slot(use: Use, now: int) -> bool:
    """Whether a message that waits has none, or one that is over."""
    return bool(use.limit.interval_us) and (use.slot is None or use.slot <= now)


def _reserved(use: Use, ready: int, now: int) -> Use:
    interval = interval_us(use.limit, use.pace, now)
    return Use(use.limit, replace(use.pace, due=ready + interval), ready)


def cut(limit: Limit, pace: Pace, now: int, took_us: int) -> Pace:
    """Halve the rate: Meta refused a send, which took `took_us`, because too many were made.

    What left before an earlier cut, or so soon after it that Meta still counted the sends before it, says nothing new.
    """
    if not limit.interval_us or now - took_us < pace.cut_at + HOLD_OFF_US:
        return pace
    floor = SECOND_US / limit.interval_us / LEAST_PART
    return replace(pace, cut_rate=max(SECOND_US / interval_us(limit, pace, now) / 2, floor), cut_at=now)


def back_off(pace: Pace, now: int) -> Pace:
    """Pause a pair for 4^n seconds, after n refusals in a row before this one."""
    if now < pace.resumes:  # it left before the pause began
        return pace
    refusals = pace.refusals if now < pace.resumes + CALM_US else 0
    pause = min(SECOND_US * PAIR_GROWTH**refusals, LONGEST_PAIR_PAUSE_US)
    return replace(pace, resumes=now + pause, refusals=refusals + 1)


def slow_down(how: How, limit: Limit, pace: Pace, now: int, amount: int) -> Pace:
    """The pace after a refusal; `amount` is how long the refused send took, or how long to pause."""
    match how:
        case "cut":
            return cut(limit, pace, now, amount)
        case "back_off":
            return back_off(pace, now)
        case "pause":
            return pause(pace, now, amount)


def slowed(limit: Limit, before: Pace, after: Pace, now: int) -> Slowed:
    """What a refusal has changed."""
    return Slowed(
        max(0, after.resumes - now),
        interval_us(limit, before, now),
        interval_us(limit, after, now),
        int(before.resumes <= now < after.resumes),
    )


def pause(pace: Pace, now: int, pause_us: int) -> Pace:
    """Let nothing go for a time, at least."""
    return replace(pace, resumes=max(pace.resumes, now + pause_us))
