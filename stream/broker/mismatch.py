"""RabbitMQ's refusal of a declaration, explained."""

from __future__ import annotations

import re
from typing import Final

from stream.contract.queues import DEAD_LETTER_QUEUE

_MISMATCH: Final = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for (?P<kind>queue|exchange) '(?P<name>[^']+)'.*?"
    r"received (?P<received>.+?) but current is (?P<current>.+?)(?:$|\")",
    re.DOTALL,
)


def explain_mismatch(text: str) -> str:
    """One sentence for an operator, from RabbitMQ's PRECONDITION_FAILED."""
    found = _MISMATCH.search(text)
    if not found:
        return f"RabbitMQ refuses the topology: {text}"
    kind, name = found["kind"], found["name"]
    return (
        f"RabbitMQ has {kind} '{name}' with {found['argument']} = {found['current']}, this worker needs "
        f"{found['received']}: drain and delete the {kind}, or make its other owner declare the same "
        f"(RABBITMQ_QUEUE_TYPE sets the type of the intake and {DEAD_LETTER_QUEUE})"
    )
