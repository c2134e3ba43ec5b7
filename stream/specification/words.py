"""What the one-word values of the contract mean, in words for people."""

from __future__ import annotations

from typing import Final

from stream.contract.events import Scope
from stream.contract.replay import Replay

SCOPES: Final = {
    Scope.MESSAGE: "this message alone",
    Scope.RECIPIENT: "all messages to this recipient",
    Scope.PAIR: "all messages from this phone number to this recipient",
    Scope.PHONE_NUMBER: "all messages from this phone number",
    Scope.TENANT: "all messages of this tenant",
    Scope.PLATFORM: "all messages of all tenants",
}
"""What is in trouble → which messages that concerns."""

REPLAYS: Final = {
    Replay.SAFE: "Nothing was sent. Replay it when the cause is gone.",
    Replay.FIX_FIRST: "The same request would be refused again. Correct the message first.",
    Replay.IN_DOUBT: "It may have been delivered. Look first whether it arrived.",
    Replay.POINTLESS: "Its time has passed, or the recipient does not want it. Discard it.",
}
"""Whether a dead letter is worth replaying → what to do."""
