"""What reached the Graph API simulator, and how often the same message was taken."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from sandbox.numbers import digits


@dataclass(frozen=True)
class Recorded:
    """One request, exactly as it arrived, and how it was answered."""

    received_at: float  # monotonic, to compare with each other
    received_wall: float  # seconds since the epoch, to compare with logs
    version: str
    phone_number_id: str
    token: str = field(repr=False)  # for tests in this process only; never exported
    user_agent: str
    body: bytes
    digest: str
    payload: dict[str, Any] | None
    recipient: str
    outcome: str
    wamid: str | None

    def to_json(self) -> dict[str, Any]:
        """The record without its token."""
        return {
            "received_at": self.received_wall,
            "version": self.version,
            "phone_number_id": self.phone_number_id,
            "user_agent": self.user_agent,
            "payload": self.payload,
            "outcome": self.outcome,
            "wamid": self.wamid,
        }


class Records:
    """The newest requests in full, and exact counts of all of them."""

    def __init__(self, keep: int | None = None) -> None:
        self.requests: deque[Recorded] = deque()
        self._keep = keep
        self._by_recipient: defaultdict[str, deque[Recorded]] = defaultdict(deque)
        self._outcomes: Counter[str] = Counter()
        # One short digest of each accepted message is kept for the whole run: without it, "twice" would not be exact.
        self._accepted: Counter[tuple[str, str]] = Counter()

    def add(self, request: Recorded) -> None:
        """Note a request, and forget the oldest one if there are more than are kept."""
        self.requests.append(request)
        self._by_recipient[request.recipient].append(request)
        if self._keep is not None and len(self.requests) > self._keep:
            self._forget_oldest()
        self._outcomes[request.outcome] += 1
        if request.wamid is not None:
            self._accepted[request.phone_number_id, request.digest] += 1

    def by_recipient(self, to: str) -> list[Recorded]:
        """The requests for one recipient, oldest first. Asked often, so it looks at no others."""
        return list(self._by_recipient.get(digits(to), ()))

    def twice(self) -> dict[tuple[str, str], int]:
        """The messages (phone number id, digest of the body) that were accepted more than once, and how often."""
        return {message: count for message, count in self._accepted.items() if count > 1}

    def summary(self) -> dict[str, Any]:
        """The counts of everything since the start or the last reset."""
        errors = {name.removeprefix("error "): n for name, n in self._outcomes.items() if name.startswith("error ")}
        return {
            "requests": self._outcomes.total(),
            "accepted": self._accepted.total(),
            "accepted_distinct": len(self._accepted),
            "twice": len(self.twice()),
            "outcomes": dict(self._outcomes),
            "errors": errors,
        }

    def clear(self) -> None:
        """Forget everything."""
        self.requests.clear()
        self._by_recipient.clear()
        self._outcomes.clear()
        self._accepted.clear()

    def _forget_oldest(self) -> None:
        recipient = self.requests.popleft().recipient
        of_recipient = self._by_recipient[recipient]
        of_recipient.popleft()
        if not of_recipient:
            del self._by_recipient[recipient]
