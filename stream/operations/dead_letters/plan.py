"""Which letters a job replays, and why it leaves the others. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stream.contract.replay import Replay
from stream.meta.errors import ERROR_TABLE
from stream.operations.dead_letters.letter import Letter


class Skip(StrEnum):
    """Why a letter is left where it lies."""

    ALREADY_SENT = "already sent"
    IN_DOUBT = "in doubt"
    FIX_FIRST = "fix first"
    POINTLESS = "pointless"
    EXPIRED = "validity passed"
    NO_MESSAGE = "no message"  # its body is none of this contract, and would come back


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of a letter's message.

    Attributes:
        wamid: Meta has accepted it; `None` if it has not.
        in_doubt: A send got no answer, or runs now.
    """

    wamid: str | None = None
    in_doubt: bool = False


NOTHING_KNOWN: Final = Known()


@dataclass(frozen=True, slots=True)
class Permission:
    """What the operator allows.

    Attributes:
        in_doubt: `--resend-in-doubt`.
        anyway: `--anyway`.
        fixed: `--set`: an edit cures what must be fixed first, and nothing else.
    """

    in_doubt: bool = False
    anyway: bool = False
    fixed: bool = False


def left_by_itself(letter: Letter, allowed: Permission, *, is_message: bool) -> Skip | None:
    """Why a letter is not replayed, as far as the letter itself says; `None` if it is.

    What nobody may send any more, and what is no message, is not tried: neither can be allowed.
    """
    reasons = (
        (not is_message, Skip.NO_MESSAGE),
        (letter.expired, Skip.EXPIRED),
        (_is_pointless(letter) and not allowed.anyway, Skip.POINTLESS),
        (letter.replay is Replay.IN_DOUBT and not allowed.in_doubt, Skip.IN_DOUBT),
        (letter.replay is Replay.FIX_FIRST and not (allowed.anyway or allowed.fixed), Skip.FIX_FIRST),
    )
    return next((reason for holds, reason in reasons if holds), None)


def _is_pointless(letter: Letter) -> bool:
    """Whether it would be refused again. One that is in doubt too says so only by its row of the error table."""
    row = ERROR_TABLE.get(letter.error_type)
    by_row = letter.replay is Replay.IN_DOUBT and row is not None and row.replay is Replay.POINTLESS
    return by_row or letter.replay is Replay.POINTLESS


def left_by_ledger(known: Known, allowed: Permission) -> Skip | None:
    """Why a letter is not replayed, as far as the ledger says: what Meta has is never sent again."""
    if known.wamid is not None:
        return Skip.ALREADY_SENT
    return Skip.IN_DOUBT if known.in_doubt and not allowed.in_doubt else None
