"""One try, while it lasts, and what ends it before a request."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.contract.messages import Message
from stream.delivery.outcome import Outcome
from stream.meta.failure import Certainty


@dataclass(slots=True)
class Try:
    """One try, while it lasts.

    Attributes:
        message: What is to be sent.
        key: Its place in the ledger.
        owner: This try's name there.
        send_again: Whether a message in doubt may be sent again.
        sends: Requests made to Meta.
        token: The token of the last one.
        refused: What Meta said to the first one, when it refused its token.
        claimed: The ledger says `sending` for this try, or may: its end must be recorded.
        in_request: A request may have left, and its answer has not come.
        after_unknown: An earlier send may have been delivered too.
    """

    message: Message
    key: str
    owner: str
    send_again: bool
    sends: int = 0
    token: str = field(default="", repr=False)
    refused: str = ""
    claimed: bool = False
    in_request: bool = False
    after_unknown: bool = False

    @property
    def certainty(self) -> Certainty:
        """What is known when the try breaks off here."""
        return Certainty.UNKNOWN if self.in_request else Certainty.NOT_SENT


class Ended(Exception):  # noqa: N818 - not an error: the try needs no send
    """The ledger says that nothing is to be sent now."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class Expired(Exception):  # noqa: N818 - a verdict on the message
    """Its validity has ended."""
