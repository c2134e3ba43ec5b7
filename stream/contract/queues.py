"""The names that other services share with this worker, and the arguments they assert."""

from __future__ import annotations

from typing import Final, Literal

QueueKind = Literal["classic", "quorum"]

INTAKE_EXCHANGE: Final = "whatsapp-exchange"
INTAKE_QUEUE: Final = "outbound-processed"
INTAKE_PREFIX: Final = "outbound.processed."  # of a routing key; the tenant ends it
INTAKE_BINDING: Final = INTAKE_PREFIX + "#"
INTAKE_TTL_MS: Final = 86_400_000  # 24 h, Meta's customer service window: an operator decides about older messages

OWN_PREFIX: Final = "whatsapp-"  # of every queue that is the worker's alone
DUE_QUEUE: Final = OWN_PREFIX + "due"

DEAD_LETTER_EXCHANGE: Final = "whatsapp-dlx"
DEAD_LETTER_QUEUE: Final = "outbound-failed"
DEAD_LETTER_KEY: Final = "outbound.failed"

INTAKE_ARGUMENTS: Final = {
    "x-dead-letter-exchange": DEAD_LETTER_EXCHANGE,
    "x-dead-letter-routing-key": DEAD_LETTER_KEY,
    "x-message-ttl": INTAKE_TTL_MS,
}


def due_queue(intake: str) -> str:
    """Name of the queue where a message comes back whose reserved time to be sent has come.

    Not behind the intake's backlog, where it would lose that time. Ours alone.

    Args:
        intake: `INTAKE_QUEUE`.
    """
    return DUE_QUEUE if intake == INTAKE_QUEUE else f"{DUE_QUEUE}-{intake}"
