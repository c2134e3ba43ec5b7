"""One try, while it lasts, and what ends it before a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from stream.contract.messages import Message
from stream.delivery.claim import AlreadySent, BeingSent, CircuitOpen, Claim, InDoubt, Keys, Paced
from stream.delivery.outcome import Busy, Duplicate, Failed, Outcome
from stream.meta.failure import Certainty, Failure, GraphError
from stream.traffic.circuit_script import Seen
from stream.traffic.paces import NO_LIMITS, REDIS, MessageLimits


@dataclass(slots=True)
class Try:
    """One try, while it lasts.

    Attributes:
        message: What is to be sent.
        owner: This try's name in the ledger.
        send_again: Whether a message in doubt may be sent again.
        keys: What its claims read and write, the ledger's key first.
        limits: The rate limits of the message.
        sends: Requests made to Meta.
        token: The token of the last one.
        refusal: Meta's error, if it refused the token of the first request.
        seen: Circuits that its claim has found in trouble, and that its end is told to.
        claimed: The ledger has, or may have, the state `sending` for this try: its end must be recorded.
        sent_at: When the last request left, in seconds of `time.perf_counter`.
        in_request: A request may have left, and its answer has not come.
        after_unknown: An earlier send may have been delivered too.
    """

    message: Message
    owner: str
    send_again: bool
    keys: Keys = ("", "", "")
    limits: MessageLimits = NO_LIMITS
    sends: int = 0
    token: str = field(default="", repr=False)
    refusal: GraphError | None = None
    seen: Seen = ()
    claimed: bool = False
    sent_at: float = 0.0
    in_request: bool = False
    after_unknown: bool = False

    @property
    def certainty(self) -> Certainty:
        """What is known about the message if the try ends here."""
        return Certainty.UNKNOWN if self.in_request else Certainty.NOT_SENT


PACE_REASONS: Final = {
    "phone_number": "the rate limit of its phone number",
    "tenant": "the rate limit of its tenant",
    "pair": "the rate limit of its phone number and recipient",
    REDIS: "Redis, which is away",
}


def ended_by(claim: Claim) -> Outcome | None:
    """The outcome of a try that the ledger's answer ends before a request; `None` if it goes on."""
    match claim:
        case AlreadySent(first, after_unknown):
            return Duplicate(first, after_unknown)
        case BeingSent(left_s):
            return Busy(left_s)
        case InDoubt(replica):
            detail = f"replica {replica} sent it and no answer is known"
            return Failed(Failure.of("OUTCOME_UNKNOWN", detail, Certainty.UNKNOWN))
        case Paced(left_s, limit):
            return Busy(left_s, "pace", PACE_REASONS[limit])
        case CircuitOpen(left_s, field, circuit):
            return Busy(left_s, "circuit", f"the circuit of its {field}: {circuit.reason}")
        case _:
            return None


class Expired(Exception):  # noqa: N818 - a verdict on the message
    """Its validity has ended."""
