"""Why one send failed, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stream.meta.errors import ERROR_TABLE, ErrorRule

DETAIL_LENGTH: Final = 500  # enough for every documented text, small enough for a header


class Certainty(StrEnum):
    """What is known about the message at Meta when a send failed."""

    NOT_SENT = "not_sent"  # the request certainly never left: always safe to send again
    REJECTED = "rejected"  # Meta answered that it did not take the message
    UNKNOWN = "unknown"  # the request left and no answer came: it may have been delivered


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try or a send failed.

    Attributes:
        rule: The row of the error table that decides.
        detail: For people and for the dead letter; contains no secret.
        certainty: Whether the message may have been delivered nevertheless.
        http_status: Meta's HTTP status, if there was an answer.
        code: Meta's `error.code`.
        subcode: Meta's `error.error_subcode`.
        fbtrace_id: Meta's trace id, for its support.
        retry_after_s: Meta's `Retry-After`, in seconds.
        regain_access_s: When an account that made too many calls may call again, as Meta estimates, in seconds.
    """

    rule: ErrorRule
    detail: str
    certainty: Certainty = Certainty.REJECTED
    http_status: int | None = None
    code: int | None = None
    subcode: int | None = None
    fbtrace_id: str | None = None
    retry_after_s: float | None = None
    regain_access_s: float | None = None

    @classmethod
    def of(cls, name: str, detail: str, certainty: Certainty = Certainty.NOT_SENT) -> Failure:
        """A failure that did not come from Meta, by the name of its row."""
        return cls(ERROR_TABLE[name], detail[:DETAIL_LENGTH], certainty)


class GraphError(Exception):
    """A send failed; `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.rule.name}: {failure.detail}")
        self.failure = failure
