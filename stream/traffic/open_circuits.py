"""Which circuits are open, of all tenants: an index in Redis for the metrics, `/health` and `stream circuits list`.

It is written at transitions only. The circuits themselves decide; an entry that is wrong misleads a person, no message.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from stream.contract.events import Scope
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.redis.scripts import Script

PREFIX: Final = "whatsapp-stream:open-circuits:{platform}:"
KEYS: Final = {Scope.TENANT: PREFIX + "tenant", Scope.PHONE_NUMBER: PREFIX + "phone_number"}
# As long as a circuit itself is kept, see `circuit_script.KEPT_MS`; each transition begins it anew. One that a person
# has opened stays.
_ADD: Final = Script("return redis.call('ZADD', KEYS[1], redis.call('TIME')[1] + 86400, ARGV[1])")
_ADD_FOR_EVER: Final = Script("return redis.call('ZADD', KEYS[1], '+inf', ARGV[1])")
_REMOVE: Final = Script("return redis.call('ZREM', KEYS[1], ARGV[1])")


class OpenCircuits:
    """The index.

    Args:
        link: Redis, which may be away: then an entry is missing.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def note(self, scope: Scope, name: str, *, open: bool, by_hand: bool = False) -> None:  # noqa: A002 - the word for it
        """A circuit is open now, or it is not any more."""
        script = (_ADD_FOR_EVER if by_hand else _ADD) if open else _REMOVE
        with suppress(RedisAway):
            await self._link.run(script, (KEYS[scope],), (name,))
