"""What the Graph API simulator can do with one request: a script is a sequence of these steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Accept:
    """Take the message and answer with its id."""

    message_status: str | None = None

    accepts = True
    outcome = "accepted"


@dataclass(frozen=True)
class Fail:
    """Refuse the message in Meta's documented error envelope."""

    code: int
    subcode: int | None = None
    http_status: int | None = None  # the documented one when None
    details: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    regain_minutes: float = 0  # what the usage header estimates

    accepts = False

    @property
    def outcome(self) -> str:
        """How the request is recorded."""
        return f"error {self.code}" + (f"/{self.subcode}" if self.subcode else "")


@dataclass(frozen=True)
class Reply:
    """Answer with anything; a dict becomes JSON, a string goes out as HTML. The message is not taken."""

    status: int
    body: dict[str, Any] | str = ""
    headers: dict[str, str] = field(default_factory=dict)

    accepts = False

    @property
    def outcome(self) -> str:
        """How the request is recorded."""
        return f"status {self.status}"


@dataclass(frozen=True)
class Drop:
    """Close the connection: 0 before the message is taken, 1 after it is taken, 2 in the middle of the answer."""

    mode: int = 0

    @property
    def accepts(self) -> bool:
        """Whether the message was taken although the caller cannot know."""
        return self.mode > 0

    @property
    def outcome(self) -> str:
        """How the request is recorded."""
        return "accepted, then dropped" if self.accepts else "dropped"


@dataclass(frozen=True)
class Delay:
    """Hold back the answer of the step that follows; the message itself is judged and recorded on arrival."""

    seconds: float


Answer = Accept | Fail | Reply | Drop
Step = Answer | Delay

KINDS: dict[str, type[Step]] = {"accept": Accept, "fail": Fail, "reply": Reply, "drop": Drop, "delay": Delay}


def step_from_json(value: dict[str, Any]) -> Step:
    """Build a step from its JSON form, such as `{"step": "fail", "code": 131056}`."""
    fields = dict(value)
    return KINDS[fields.pop("step")](**fields)
