"""One circuit: whether a scope's messages may go. Pure: a value and what happens to it; the specification of the Lua.

    closed ──failures in a row──▶ open ──its time is over──▶ half open ──success──▶ closed
                                   ▲                            │ one probe at a time
                                   └──failure, for twice as long┘

All times are in milliseconds, on Redis' clock. What Redis itself runs (`circuit_script.py`) is tested against these
functions, transition by transition.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace

LONGEST_OPEN_MS: Final = 600_000  # however often its probes fail
PROBING_MS: Final = 1_000  # a probe mostly ends within this: those behind it look again after one to three of these
BY_HAND_LOOK_MS: Final = 60_000  # how often a message looks whether a person has closed the circuit
LEAST_SPREAD_MS: Final = 1_000
LONGEST_SPREAD_MS: Final = 60_000


class State(StrEnum):
    """What a circuit lets through: everything, nothing, or one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Circuit(msgspec.Struct, frozen=True):
    """The state of one circuit; the default is a scope without trouble, of which nothing is kept.

    Attributes:
        state: What it lets through.
        failures: How many came in a row.
        since: When the first of them came, or when a person opened it.
        ends: When the next probe may start; in half open, when the probe counts as dead.
        open_ms: How long it opens for.
        reason: The error type of the last failure, or a person's words.
        by_hand: A person opened it: nothing is probed until a person closes it.
        token: A digest of the token that Meta refused, if that is what opened it.
        owner: The try that failed last; in half open, the one that probes.
        probes: How many have probed since it opened.
    """

    state: State = State.CLOSED
    failures: int = 0
    since: int = 0
    ends: int = 0
    open_ms: int = 0
    reason: str = ""
    by_hand: bool = False
    token: str = ""
    owner: str = ""
    probes: int = 0

    @property
    def began(self) -> datetime:
        """`since`, in UTC."""
        return datetime.fromtimestamp(self.since / 1000, UTC)


class Rules(msgspec.Struct, frozen=True):
    """How circuits of a worker open.

    Attributes:
        failures: How many in a row open one.
        open_ms: How long it opens for at first.
        lease_ms: How long a probe may take.
    """

    failures: int
    open_ms: int
    lease_ms: int


class Wait(msgspec.Struct, frozen=True):
    """A message has to wait.

    Attributes:
        least_ms: How long, in milliseconds.
        spread_ms: A random part of this is added, so that those who wait do not come back all at once.
    """

    least_ms: int
    spread_ms: int

    def length_s(self, chance: float) -> float:
        """How long one message waits, in seconds; `chance` from 0 to 1 is its place among the others."""
        return (self.least_ms + self.spread_ms * chance) / 1000


class Failure(msgspec.Struct, frozen=True):
    """What a circuit learns of a failure.

    Attributes:
        owner: The try that failed.
        reason: The error type.
        token: A digest of the token, if it was refused.
    """

    owner: str
    reason: str
    token: str = ""


def ask(circuit: Circuit, owner: str, now: int, lease_ms: int) -> Circuit | Wait:
    """Whether a try may go.

    Returns:
        The circuit afterwards: half open, if the try is its probe now; or how long to wait.
    """
    if circuit.state is State.CLOSED:
        return circuit
    if circuit.by_hand:
        return Wait(BY_HAND_LOOK_MS, spread_ms(BY_HAND_LOOK_MS))
    mine = circuit.state is State.HALF_OPEN and circuit.owner == owner
    if now < circuit.ends and not mine:
        if circuit.state is State.HALF_OPEN:
            return Wait(PROBING_MS, 2 * PROBING_MS)
        if circuit.ends - now <= circuit.open_ms:  # else the clock has stepped back: nobody knows how long is left
            return Wait(circuit.ends - now, spread_ms(circuit.open_ms))
    probes = circuit.probes if mine else circuit.probes + 1
    return replace(circuit, state=State.HALF_OPEN, owner=owner, ends=now + lease_ms, probes=probes)


def fail(circuit: Circuit, failure: Failure, now: int, rules: Rules) -> Circuit:
    """The circuit after a failure. The same failure is counted once, however often it is told."""
    probing = circuit.state is State.HALF_OPEN
    if circuit.owner == failure.owner and not probing:
        return circuit
    counted = replace(circuit, failures=circuit.failures + 1, since=circuit.since or now)
    if circuit.state is State.OPEN or (probing and circuit.owner != failure.owner):
        return counted  # it was sent before the circuit opened
    failed = replace(counted, reason=failure.reason, token=failure.token, owner=failure.owner)
    if not probing and failed.failures < rules.failures:
        return failed
    open_ms = min(2 * circuit.open_ms, LONGEST_OPEN_MS) if probing else rules.open_ms
    return replace(failed, state=State.OPEN, open_ms=open_ms, ends=now + open_ms, probes=0)


def succeed(circuit: Circuit, owner: str) -> Circuit:
    """The circuit after a success. One that is open is closed by its probe only."""
    if circuit.state is State.CLOSED or (circuit.state is State.HALF_OPEN and circuit.owner == owner):
        return Circuit()
    return circuit


def give_back(circuit: Circuit, owner: str, now: int) -> Circuit:
    """The circuit after a probe that says nothing about the scope: another message may probe at once."""
    if circuit.state is State.HALF_OPEN and circuit.owner == owner:
        return replace(circuit, state=State.OPEN, ends=now)
    return circuit


def replaced(circuit: Circuit, token: str) -> Circuit:
    """The circuit after the tenant got a token with this digest: closed, if it was another one that Meta refused."""
    return Circuit() if circuit.token and circuit.token != token and not circuit.by_hand else circuit


def opened_by_hand(circuit: Circuit, reason: str, now: int) -> Circuit:
    """The circuit after a person opened it."""
    return Circuit(State.OPEN, circuit.failures, now, now, circuit.open_ms, reason, by_hand=True)


def spread_ms(open_ms: int) -> int:
    """Over how long those who wait for a circuit come back, in milliseconds."""
    return min(max(open_ms // 6, LEAST_SPREAD_MS), LONGEST_SPREAD_MS)
