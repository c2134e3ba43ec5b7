"""How often the same alert is published: once in `ALERT_INTERVAL_MS`, over all replicas, with the count since."""

from __future__ import annotations

import uuid
from typing import Final

from stream.contract.identifiers import TenantId, hash_tag
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.redis.scripts import Script

KEY_PREFIX: Final = "whatsapp-stream:alerts:"
KEPT_MS: Final = 86_400_000  # failures are counted for so long after the last alert

# The caller that was told to publish is told the same when its command runs twice.
_COUNT: Final = Script(f"""
local time = redis.call('TIME')
local now, interval = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[1])
local known = redis.call('HMGET', KEYS[1], 'ends', 'since', 'by', 'told')
if known[3] == ARGV[2] then return tonumber(known[4]) end
local count, left = tonumber(known[2] or 0) + 1, tonumber(known[1] or 0) - now
if left > 0 and left <= interval then -- more is left only if the clock has stepped back
    redis.call('HSET', KEYS[1], 'since', count)
    return 0
end
redis.call('HSET', KEYS[1], 'ends', now + interval, 'since', 0, 'by', ARGV[2], 'told', count)
redis.call('PEXPIRE', KEYS[1], {KEPT_MS})
return count
""")


class AlertInterval:
    """Counts failures of a tenant and an error type, and says when an alert is due.

    Args:
        link: Redis, which may be away: then every alert is published.
        interval_ms: `ALERT_INTERVAL_MS`; 0 makes every alert due.
    """

    def __init__(self, link: RedisLink, *, interval_ms: int) -> None:
        self._link = link
        self._interval_ms = interval_ms

    async def count(self, tenant_id: TenantId, error_type: str) -> int:
        """Count one failure.

        Returns:
            How many there were since the last alert, this one included; 0 if no alert is due.
        """
        if not self._interval_ms:
            return 1
        key = f"{KEY_PREFIX}{hash_tag(tenant_id)}:{error_type}"
        try:
            return int(await self._link.run(_COUNT, (key,), (self._interval_ms, uuid.uuid4().hex)))
        except RedisAway:
            return 1
