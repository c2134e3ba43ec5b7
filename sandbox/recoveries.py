"""Three causes of dead letters, one of each class, and the command that brings their letters back."""

from __future__ import annotations

from dataclasses import dataclass

TEMPLATE = "order_update"  # the one that exists
NOT_IN_WEBHOOKS = "jaspers-market-shape3"  # the tenant whose messages in doubt have not arrived


@dataclass(frozen=True)
class Recovery:
    """How the letters of a cause come back.

    Attributes:
        first: What an operator does, or looks up, before.
        letters: The options that say which letters are meant.
        how: The options that say what is done with them.
    """

    first: str
    letters: tuple[str, ...]
    how: tuple[str, ...]

    @property
    def look(self) -> tuple[str, ...]:
        """The command that shows the cause."""
        return ("dead-letters", "groups", *self.letters)

    @property
    def dry_run(self) -> tuple[str, ...]:
        """The command that says what a replay would do."""
        return ("dead-letters", "replay", *self.letters, *self.how)

    @property
    def replay(self) -> tuple[str, ...]:
        """The command that does it."""
        return (*self.dry_run, "--yes")


NEW_TOKEN = Recovery(
    "Meta refuses a token. Give the tenant a new one in the Tenant Service, then:",
    ("--type", "AUTH_ERROR"),
    ("--reason", "new token"),
)
RIGHT_TEMPLATE = Recovery(
    "No template has this name. Replay the messages with the right one:",
    ("--type", "TEMPLATE_NOT_FOUND"),
    ("--set", f"template.name={TEMPLATE}", "--reason", "wrong name"),
)
NOT_ARRIVED = Recovery(
    "Nobody knows whether these arrived. Where Meta's webhooks do not know them:",
    ("--replay-class", "in-doubt", "--tenant", NOT_IN_WEBHOOKS),
    ("--resend-in-doubt", "--reason", "not in the webhooks"),
)
RECOVERIES = (NEW_TOKEN, RIGHT_TEMPLATE, NOT_ARRIVED)
