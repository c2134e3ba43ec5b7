"""Whether a dead letter is worth replaying: one word, in a header, in the alert event and in the error table."""

from __future__ import annotations

from enum import StrEnum


class Replay(StrEnum):
    """What a replay of a dead letter would lead to."""

    SAFE = "safe"  # nothing was sent, and a cure outside the message is known: after it, the same request succeeds
    FIX_FIRST = "fix-first"  # the same request would be refused again
    IN_DOUBT = "in-doubt"  # the message may have been delivered
    POINTLESS = "pointless"  # its validity has passed, the recipient has opted out, and the like
