"""How one try ended: a value that `decision` turns into what happens next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stream.meta.client import Accepted
from stream.meta.failure import Failure
from stream.traffic.transitions import Transition

WaitsFor = Literal["other_send", "turn", "backoff", "circuit", "pace"]


@dataclass(frozen=True, slots=True)
class Sent:
    """Meta accepted the message.

    Attributes:
        accepted: Meta's answer.
        process_s: Duration of the try, credentials included, in seconds.
        sends: Requests made to Meta in this try: 2 after a resend with fresh credentials.
        after_unknown: An earlier send of it may have been delivered too.
        transitions: Circuits that have changed their state meanwhile, for the alert events.
    """

    accepted: Accepted
    process_s: float
    sends: int = 1
    after_unknown: bool = False
    transitions: tuple[Transition, ...] = ()


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The message was sent before, by this copy or another one; nothing was sent now.

    Attributes:
        first: What Meta answered to the first one.
        after_unknown: A send before that one may have been delivered too.
    """

    first: Accepted
    after_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Busy:
    """It is not the time for a try: nothing was sent.

    Attributes:
        left_s: When a try may be possible, in seconds from now.
        waits_for: Another try that is sending the message, a suspect's turn to be tried alone, the end of a backoff,
            a circuit that is open, or the message's own turn within the rate limits (pace).
        reason: Which circuit, or which rate limit, for people.
    """

    left_s: float
    waits_for: WaitsFor = "other_send"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The try failed; the failure says how, and whether the message may have been delivered nevertheless.

    Attributes:
        failure: What went wrong.
        process_s: Duration of the try, in seconds.
        sends: Requests made to Meta in this try.
        after_unknown: An earlier send of it may have been delivered.
        wait_s: How long the circuit in which it counts keeps messages waiting, in seconds; `None` if it is not open.
        pause_s: How long the rate limit that Meta enforced keeps the message waiting, in seconds, instead of a backoff;
            `None` if it is not paced here.
        transitions: Circuits that have changed their state meanwhile, for the alert events.
    """

    failure: Failure
    process_s: float = 0.0
    sends: int = 0
    after_unknown: bool = False
    wait_s: float | None = None
    pause_s: float | None = None
    transitions: tuple[Transition, ...] = ()

    @property
    def tries(self) -> int:
        """How much this try counts: its number of requests, but 1 if it failed before the first."""
        return max(1, self.sends)


@dataclass(frozen=True, slots=True)
class NotCopyable:
    """The message was not tried, and no copy of it can be made: only the broker can move it.

    Attributes:
        reason: Why, for people.
    """

    reason: str


Outcome = Sent | Duplicate | Busy | Failed | NotCopyable


def transitions_of(outcome: Outcome) -> tuple[Transition, ...]:
    """Circuits that have changed their state in this try."""
    return outcome.transitions if isinstance(outcome, Sent | Failed) else ()
