"""What the sent-once ledger knows of letters' messages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

import orjson

from stream.operations.dead_letters.job import Status
from stream.operations.dead_letters.plan import NOTHING_KNOWN, Known
from stream.redis.client import Client

AT_ONCE: Final = 500  # keys in one write

_DOUBTS: Final = frozenset({b"sending", b"unknown", b"held"})


async def known_of(redis: Client, keys: Sequence[str]) -> list[Known]:
    """What is known under each key, in their order; an empty key is of a letter that is no message."""
    answers: list[Known] = []
    left = iter(keys)
    while batch := list(islice(left, AT_ONCE)):
        async with redis.pipeline(transaction=False) as pipe:
            for key in batch:
                pipe.hmget(key, "state", "answer")
            answers += [_known(*answer) for answer in await pipe.execute()]
    return answers


async def known_of_either(redis: Client, own: Sequence[str], resent: Sequence[str]) -> list[Known]:
    """What is known of letters under their own keys, or under those of the resends that a job makes of them."""
    pairs = zip(await known_of(redis, own), await known_of(redis, resent), strict=True)
    return [Known(one.wamid or other.wamid, one.in_doubt or other.in_doubt) for one, other in pairs]


def status_by(known: Known, before: Status, *, came_back: bool) -> Status:
    """What became of a letter of which a copy may be on the intake.

    Args:
        known: What the ledger knows of the copy.
        before: What was known before.
        came_back: The copy has failed, and is a new letter.
    """
    if known.wamid is not None:
        return Status.DELIVERED
    if came_back:
        return Status.FAILED
    return Status.REPLAYED if known.in_doubt else before  # a worker has it, or had it: it need not be published again


def _known(state: bytes | None, answer: bytes | None) -> Known:
    if state == b"sent" and answer:
        return Known(wamid=orjson.loads(answer)[0])
    return Known(in_doubt=True) if state in _DOUBTS else NOTHING_KNOWN
