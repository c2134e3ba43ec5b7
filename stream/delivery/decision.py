"""What happens next to a message: outcome and history in, a decision out. Pure: no I/O, no clock, no log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from stream.contract import delays
from stream.contract.events import Scope
from stream.contract.headers import History
from stream.contract.validity import Validity
from stream.delivery.outcome import Busy, Duplicate, Failed, NotCopyable, Outcome, Sent, WaitsFor
from stream.meta.errors import ERROR_TABLE, Budget, RetryRule
from stream.meta.failure import DETAIL_LENGTH, Certainty, Failure
from stream.observe.redaction import redacted
from stream.retry import RetryHandler

LONGEST_SERVER_WISH_S: Final = 300.0  # a longer Retry-After is cut to this
LONGEST_BUSY_WAIT_S: Final = 2.0
EXPIRED: Final = ERROR_TABLE["MESSAGE_EXPIRED"]
HELD: Final = frozenset({Scope.TENANT, Scope.PHONE_NUMBER})

OnTenantFailure = Literal["dead-letter", "hold"]


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Delivered, now or before: take it off the queue."""

    outcome: Sent | Duplicate


@dataclass(frozen=True, slots=True)
class Postpone:
    """It was not tried: look again later, with the history as it is.

    Attributes:
        delay_s: How long, in seconds.
        history: What the waiting copy carries.
        waits_for: What has to end first, as `Busy` names it.
        reason: More about that, for people.
    """

    delay_s: float
    history: History
    waits_for: WaitsFor = "other_send"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """It was not tried: its tenant has its share of the slots already, so it goes to the tenant's lane.

    Attributes:
        lane: The lane's queue.
    """

    lane: str


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Wait on the broker, then try again.

    Attributes:
        failure: Why.
        delay_s: How long, in seconds.
        history: What the waiting copy carries.
        process_s: Duration of the try, in seconds.
    """

    failure: Failure
    delay_s: float
    history: History
    process_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Give up, with the whole reason.

    Attributes:
        failure: Why.
        attempts: Tries it took.
        exhausted: It was worth retrying, but its retries are used up.
        unknown: Sends without an answer in all.
        process_s: Duration of the last try, in seconds.
    """

    failure: Failure
    attempts: int
    exhausted: bool = False
    unknown: int = 0
    process_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LeaveToBroker:
    """Have the broker dead-letter the original: no copy can be made of it, or the error is unexpected.

    Attributes:
        reason: Why, for people.
        error_type: The row of the error table under which it is counted.
    """

    reason: str
    error_type: str = "INVALID_MESSAGE"


Decision = Acknowledge | Postpone | Move | RetryAfter | DeadLetter | LeaveToBroker


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often each budget may be used.

    Attributes:
        failures: `META_API_MAX_RETRIES`.
        throttles: `RATE_LIMIT_MAX_RETRIES`, also the limit for waiting on the Tenant Service; `None` is no limit but
            the message's validity.
        backoff: Computes the delays.
        hold: `ON_TENANT_FAILURE` is `hold`: a failure of its tenant's, or of its number's, costs no message.
    """

    failures: int
    throttles: int | None
    backoff: RetryHandler
    hold: bool = False

    def limit(self, budget: Budget) -> int | None:
        """Retries that a message has of a budget; `None`: as many as fit into its validity."""
        return self.failures if budget is Budget.FAILURE else self.throttles


def decide(outcome: Outcome, history: History, policy: RetryPolicy, *, validity: Validity, now: datetime) -> Decision:
    """Decide what becomes of a message whose try has just ended.

    A message that another try is sending waits for the end of that try, even after its own validity: a dead letter
    would say that it was not delivered, and it may have been. The wait ends with the lease of the other try.
    """
    if isinstance(outcome, Sent | Duplicate):
        return Acknowledge(outcome)
    if isinstance(outcome, Busy):
        return _not_yet(outcome, history, validity=validity, now=now)
    if isinstance(outcome, NotCopyable):
        return LeaveToBroker(outcome.reason)
    return _after_failure(outcome, history, policy, validity=validity, now=now)


def _not_yet(outcome: Busy, history: History, *, validity: Validity, now: datetime) -> Postpone | DeadLetter:
    """Wait for what has to end first. A message that waits for traffic rules ends with its validity.

    It waits for no longer than that: a circuit may close, and a rate limit be raised, before.
    """
    match outcome.waits_for:
        case "circuit" | "pace":
            left_s = (validity.ends - now).total_seconds()
            if left_s < delays.UNIT_MS / 1000:
                failure = Failure.of("MESSAGE_EXPIRED", f"{validity}; it waited for {outcome.reason}")
                return DeadLetter(failure, history.attempts, unknown=history.unknown)
            delay_s = min(outcome.left_s, left_s)
        case "backoff":  # as long as it was decided to be
            delay_s = outcome.left_s
        case _:  # a send usually ends long before its lease does
            delay_s = min(outcome.left_s, LONGEST_BUSY_WAIT_S)
    return Postpone(delay_s, history, outcome.waits_for, outcome.reason)


def _after_failure(
    outcome: Failed, history: History, policy: RetryPolicy, *, validity: Validity, now: datetime
) -> RetryAfter | DeadLetter:
    failure, rule, unknown = outcome.failure, outcome.failure.rule.retry, _unknown(outcome, history)
    given_up = DeadLetter(failure, history.attempts + outcome.tries, unknown=unknown, process_s=outcome.process_s)
    if failure.rule is EXPIRED and failure.http_status is None:  # not Meta's word, but the processor's
        return replace(given_up, failure=_expired(failure, failure.detail or history.last_error, validity))
    if policy.hold and failure.rule.circuit in HELD:
        return _hold(outcome, history, given_up, policy, validity=validity, now=now)
    if rule is None:
        return given_up
    # An auth error was retried within the try, right after its credentials were fetched again.
    if failure.rule.invalidate_credentials or _spent(failure, rule, history, policy):
        return replace(given_up, exhausted=True)
    delay_s = _delay_s(outcome, rule, _used(rule.budget, history) + 1, policy)
    if now + timedelta(seconds=delays.held_s(delay_s)) >= validity.ends:
        return replace(given_up, failure=_expired(failure, f"{failure.rule.name}: {failure.detail}", validity))
    after = history.after(failure.rule.name, outcome.tries, unknown=unknown, detail=redacted(failure.detail))
    return RetryAfter(failure, delay_s, after, outcome.process_s)


def _hold(
    outcome: Failed, history: History, given_up: DeadLetter, policy: RetryPolicy, *, validity: Validity, now: datetime
) -> RetryAfter | DeadLetter:
    """Wait for the circuit, without using up a retry; if no circuit is open, since Redis is away, for the backoff.

    At most until its validity ends: a new token may close the circuit before.
    """
    failure, left_s = outcome.failure, (validity.ends - now).total_seconds()
    delay_s = outcome.wait_s if outcome.wait_s is not None else policy.backoff.calculate_backoff(history.attempts + 1)
    if left_s < delays.UNIT_MS / 1000:
        return replace(given_up, failure=_expired(failure, f"{failure.rule.name}: {failure.detail}", validity))
    after = history.held(failure.rule.name, outcome.tries, detail=redacted(failure.detail))
    return RetryAfter(failure, min(delay_s, left_s), after, outcome.process_s)


def _expired(failure: Failure, last: str, validity: Validity) -> Failure:
    """Its time is up, or would be before the next try; what is known of its last failure stays."""
    detail = f"{validity}; last failure: {last}" if last else str(validity)
    return replace(failure, rule=EXPIRED, detail=detail[:DETAIL_LENGTH])


def _unknown(outcome: Failed, history: History) -> int:
    """Sends without an answer in all. A send in which a replica died is in no header: `after_unknown` counts as it."""
    before = max(history.unknown, int(outcome.after_unknown))
    return before + (outcome.failure.certainty is Certainty.UNKNOWN)


def _spent(failure: Failure, rule: RetryRule, history: History, policy: RetryPolicy) -> bool:
    """Whether the type's own limit or its budget is used up."""
    of_this_type = history.retries.get(failure.rule.name, 0)
    if rule.limit is not None and of_this_type >= rule.limit:
        return True
    limit = policy.limit(rule.budget)
    return limit is not None and _used(rule.budget, history) >= limit


def _used(budget: Budget, history: History) -> int:
    """Retries that the message has used of a budget, over all types that share it."""
    return sum(
        count
        for name, count in history.retries.items()
        if (row := ERROR_TABLE.get(name)) and row.retry and row.retry.budget is budget
    )


def _delay_s(outcome: Failed, rule: RetryRule, attempt: int, policy: RetryPolicy) -> float:
    """A backoff; none for what is paced: it comes back when its pause is over, and then waits for its turn."""
    wish = min(outcome.failure.retry_after_s or 0.0, LONGEST_SERVER_WISH_S)
    if outcome.pause_s is not None:
        return max(outcome.pause_s, wish)
    computed = policy.backoff.calculate_backoff(attempt, base_delay_s=rule.base_s, growth=rule.growth, cap_s=rule.cap_s)
    return max(computed, wish)
