"""Waits that could not be published: kept in Redis until the broker delivers their message again.

A message's tries are counted in the headers of its waiting copy. When that copy cannot be published (its connection was
cut, no queue takes it), the broker delivers the original again, with its old headers. What the copy would have carried
is then kept here, so that no failed try is made twice and no backoff is cut short. While Redis is away, or if the
process dies first, the try is made again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import orjson
from aio_pika.abc import AbstractIncomingMessage

from stream.contract.headers import ATTEMPT, INTERNAL_ID, RESEND, TENANT_ID, History
from stream.contract.messages import Whose
from stream.contract.moments import iso_moment
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.redis.scripts import Script

KEY_PREFIX: Final = "whatsapp-stream:unpublished:"
KEPT: Final = timedelta(hours=1)  # if the broker is away for longer, each of its messages is tried once more
DUE: Final = "due"

_KEEP: Final = Script("return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])")
_TAKE: Final = Script("local kept = redis.call('GET', KEYS[1]) redis.call('DEL', KEYS[1]) return kept")


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A wait that could not be published.

    Attributes:
        history: What its copy would have carried.
        due: When it would have ended.
        whose: Whose message it is: until then its body is not read again.
    """

    history: History
    due: datetime
    whose: Whose


class UnpublishedWaits:
    """Keeps and finds the waits.

    Args:
        link: Redis.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def keep(self, incoming: AbstractIncomingMessage, wait: Unpublished, now: datetime) -> None:
        """Keep a wait until an hour after its end."""
        kept_ms = int((max(wait.due - now, timedelta()) + KEPT).total_seconds() * 1000)
        whose = {TENANT_ID: wait.whose.tenant_id, INTERNAL_ID: wait.whose.internal_id}
        note = orjson.dumps({**wait.history.headers(), DUE: wait.due.isoformat(), **whose})
        try:
            await self._link.run(_KEEP, (_key(incoming),), (note, kept_ms))
        except RedisAway:
            return  # the link has logged it

    async def take(self, incoming: AbstractIncomingMessage, now: datetime) -> Unpublished | None:
        """Find a message's wait, and delete it."""
        try:
            note = await self._link.run(_TAKE, (_key(incoming),), ())
        except RedisAway:
            return None
        if note is None:
            return None
        headers = orjson.loads(note)
        whose = Whose(headers[TENANT_ID], headers[INTERNAL_ID])
        return Unpublished(History.read(headers, now), iso_moment(headers[DUE]), whose)


def _key(incoming: AbstractIncomingMessage) -> str:
    """The key of a message: the same for each delivery of one copy, another one for the copy of its next try."""
    marks = f"{incoming.headers.get(ATTEMPT)!r} {incoming.headers.get(RESEND)!r} "
    return KEY_PREFIX + hashlib.sha256(marks.encode(errors="replace") + incoming.body).hexdigest()
