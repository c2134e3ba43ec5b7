"""Dead letters for tests: many, of several causes, laid on the queue without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiormq
import orjson
from pamqp.commands import Basic

from stream.contract.queues import DEAD_LETTER_QUEUE
from tests.scene import number, text_message, unique

BATCH = 2_000


@dataclass(frozen=True)
class Cause:
    """Why letters lie there."""

    error_type: str
    code: int | None
    tenant: str
    detail: str
    replay: str | None = None  # None: as an earlier release wrote it


CAUSES = (
    Cause("AUTH_ERROR", 190, "acme", "Error validating access token", "safe"),
    Cause("PAYMENT_ISSUE", 131042, "globex", "Business eligibility payment issue", "safe"),
    Cause("OUTCOME_UNKNOWN", None, "acme", "replica host-1:17 sent it and no answer is known", "in-doubt"),
    Cause("INVALID_REQUEST", 100, "initech", "Parameter value is not valid"),
    Cause("META_SERVER_ERROR", 131000, "acme", "Something went wrong"),
)


def letter_of(cause: Cause, to: str, internal_id: str) -> tuple[bytes, dict[str, Any]]:
    """Body and headers of a letter as the worker writes them."""
    now = datetime.now(UTC).isoformat()
    headers = {
        "x-error-type": cause.error_type,
        "x-error-code": cause.code,
        "x-error-detail": cause.detail,
        "x-attempts": 1,
        "x-attempt": 3,
        "x-retries": {cause.error_type: 3},
        "x-first-seen": now,
        "x-failed-at": now,
        "x-tenant-id": cause.tenant,
        "x-internal-id": internal_id,
        "x-retryable": True,
        "x-replay": cause.replay,
        "x-original-routing-key": f"outbound.processed.{cause.tenant}",
        "X-Upstream": "kept",
    }
    body = orjson.dumps(text_message(to, cause.tenant, internal_id))
    return body, {name: value for name, value in headers.items() if value is not None}


async def lay(url: str, letters: Sequence[tuple[bytes, dict[str, Any]]]) -> None:
    """Lay letters on the dead-letter queue, in their order."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    for start in range(0, len(letters), BATCH):
        publishes = [
            channel.basic_publish(
                body,
                routing_key=DEAD_LETTER_QUEUE,
                properties=Basic.Properties(delivery_mode=2, message_id=unique("m"), headers=headers),
            )
            for body, headers in letters[start : start + BATCH]
        ]
        await asyncio.gather(*publishes)
    await connection.close()


def mixed(count: int) -> list[tuple[bytes, dict[str, Any]]]:
    """Letters of all causes, one after the other."""
    return [letter_of(CAUSES[n % len(CAUSES)], number(), unique("id")) for n in range(count)]
