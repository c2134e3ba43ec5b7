"""The headers this worker writes and reads: a message's history, and why it was dead-lettered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal, get_args

from stream.contract.moments import iso_moment_or_none

# History: travels with a message through its waits, so that counts survive restarts and are the same for any number
# of replicas.
ATTEMPT: Final = "x-attempt"  # tries that have ended
RETRIES: Final = "x-retries"  # error type → retries it has used, a table
FIRST_SEEN: Final = "x-first-seen"  # ISO 8601 in UTC
LAST_ERROR: Final = "x-last-error"  # type and detail of the failure that it waits for

MOVED_AT: Final = "x-moved-at"  # when it came to its lane, ISO 8601 in UTC: it was moved there, or its wait ended
REDELIVERED: Final = "x-redelivered"  # the broker had delivered it before: its sent event may be missing
UNKNOWN_OUTCOMES: Final = "x-unknown-outcomes"  # sends without an answer: each may have been delivered

# Instructions that a publisher or the replay tool may give.
RESEND: Final = "x-resend"  # any text, new for each resend: send although an earlier copy was sent
ON_UNKNOWN_OUTCOME: Final = "x-on-unknown-outcome"  # retry | dead-letter, instead of the worker's setting

# Why a message was dead-lettered.
ERROR_TYPE: Final = "x-error-type"
ERROR_CODE: Final = "x-error-code"
ERROR_SUBCODE: Final = "x-error-subcode"
HTTP_STATUS: Final = "x-http-status"
ERROR_DETAIL: Final = "x-error-detail"
FBTRACE_ID: Final = "x-fbtrace-id"
ATTEMPTS: Final = "x-attempts"
FAILED_AT: Final = "x-failed-at"
TENANT_ID: Final = "x-tenant-id"
INTERNAL_ID: Final = "x-internal-id"
RETRYABLE: Final = "x-retryable"
FINGERPRINT: Final = "x-fingerprint"  # the same for letters of one cause
REPLAY: Final = "x-replay"  # safe | fix-first | in-doubt | pointless

# What the replay tool writes on a copy that goes back to the intake; it stays on a letter that fails again.
REPLAYS: Final = "x-replays"  # how often it has been replayed
REPLAY_JOB: Final = "x-replay-job"  # the last job that replayed it
REPLAYED_FROM: Final = "x-replayed-from"  # the letter's id, and what an edit changed

# What the broker would act on if a copy carried it under its own name.
ORIGINAL_ROUTING_KEY: Final = "x-original-routing-key"
ORIGINAL_EXPIRATION: Final = "x-original-expiration"
ORIGINAL_USER_ID: Final = "x-original-user-id"
ORIGINAL_PRIORITY: Final = "x-original-priority"  # set aside while the message waits
ORIGINAL_PREFIX: Final = "x-original-"

# More attempts than any limit allows: so a publisher's header cannot make the numbers too large.
MOST_ATTEMPTS: Final = 1_000_000
LAST_ERROR_LENGTH: Final = 300

_ERROR_TYPE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")  # also one that only another release knows


@dataclass(frozen=True, slots=True)
class History:
    """What has happened to a message so far.

    Attributes:
        first_seen: When a worker first saw it.
        attempts: Tries that have ended.
        retries: Error type → retries it has used.
        unknown: Sends that ended without an answer.
        last_error: Type and detail of the last failure, for people; empty when there was none.
    """

    first_seen: datetime
    attempts: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
    unknown: int = 0
    last_error: str = ""

    @classmethod
    def read(cls, headers: Mapping[str, Any], now: datetime) -> History:
        """Read the headers; what is missing or makes no sense counts as "not yet"."""
        last_error = headers.get(LAST_ERROR)
        return cls(
            first_seen=min(iso_moment_or_none(headers.get(FIRST_SEEN)) or now, now),
            attempts=_count(headers.get(ATTEMPT)),
            retries=_retries(headers.get(RETRIES)),
            unknown=_count(headers.get(UNKNOWN_OUTCOMES)),
            last_error=last_error[:LAST_ERROR_LENGTH] if isinstance(last_error, str) else "",
        )

    def after(self, error_type: str, tries: int, *, unknown: int = 0, detail: str = "") -> History:
        """The history once the present try, which counts `tries`, has ended and will be retried for `error_type`.

        `unknown` is the number of sends without an answer in all, and `detail`, without secrets, is for people.
        """
        used = {**self.retries, error_type: self.retries.get(error_type, 0) + 1}
        last_error = f"{error_type}: {detail}"[:LAST_ERROR_LENGTH]
        return replace(self, attempts=self.attempts + tries, retries=used, unknown=unknown, last_error=last_error)

    def held(self, error_type: str, tries: int, *, detail: str) -> History:
        """The history once the present try has ended and the message waits at no cost: no retry is used up."""
        last_error = f"{error_type}: {detail}"[:LAST_ERROR_LENGTH]
        return replace(self, attempts=self.attempts + tries, last_error=last_error)

    def headers(self) -> dict[str, Any]:
        """The headers that `read` understands."""
        headers = {ATTEMPT: self.attempts, RETRIES: dict(self.retries), FIRST_SEEN: self.first_seen.isoformat()}
        optional = {UNKNOWN_OUTCOMES: self.unknown, LAST_ERROR: self.last_error}
        return {**headers, **{name: value for name, value in optional.items() if value}}


OnUnknown = Literal["retry", "dead-letter"]
_ON_UNKNOWN: Final = get_args(OnUnknown)


@dataclass(frozen=True, slots=True)
class Instructions:
    """What a message's headers ask for.

    Attributes:
        resend: Names an explicit resend: it is sent once more although an earlier copy was sent.
        on_unknown: Overrides `ON_UNKNOWN_OUTCOME` for this message.
        needs_ledger: It is a copy of a job of the replay tool, which makes another one if it cannot know what became of
            this one: it is not sent while Redis is away.
    """

    resend: str | None = None
    on_unknown: OnUnknown | None = None
    needs_ledger: bool = False

    @classmethod
    def read(cls, headers: Mapping[str, Any]) -> Instructions:
        """Read the headers; a value that makes no sense asks for nothing."""
        resend, on_unknown = headers.get(RESEND), headers.get(ON_UNKNOWN_OUTCOME)
        # The management page turns what a person types as digits into a number.
        if isinstance(resend, int) and not isinstance(resend, bool):
            resend = str(resend)
        return cls(
            resend=resend[:256] if isinstance(resend, str) and resend else None,
            on_unknown=on_unknown if on_unknown in _ON_UNKNOWN else None,
            needs_ledger=REPLAY_JOB in headers,
        )


def _count(value: object) -> int:
    return min(max(value, 0), MOST_ATTEMPTS) if isinstance(value, int) and not isinstance(value, bool) else 0


def _retries(table: object) -> dict[str, int]:
    entries = table.items() if isinstance(table, dict) else ()
    return {name: _count(used) for name, used in entries if isinstance(name, str) and _ERROR_TYPE.fullmatch(name)}


def moved_at(headers: Mapping[str, Any]) -> datetime | None:
    """When a message came to its lane; `None` if it was never moved to one."""
    return iso_moment_or_none(headers.get(MOVED_AT))
