"""The sent-once ledger: what is known of each message at Meta, in Redis, shared by all replicas.

Meta has no idempotency key, brokers deliver again and replicas die. So each message is claimed in one atomic call just
before its request leaves, and its end is written in one call after:

    (nothing) ──claim──▶ sending ──accepted──▶ sent          a later copy is a duplicate
                            │  └───refused, or never left──▶ (nothing)      a retry may claim it again
                            └──────no answer, or the lease ended──▶ unknown  ON_UNKNOWN_OUTCOME decides

A doubt is never forgotten: once a send got no answer, a later refusal leads back to `unknown`, not to nothing.

A lease that has ended means that a replica died between the request and its answer. That is `unknown`, not free.
`stream.delivery.claims` makes the claims, from the two parts of a script that stand here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from stream.contract.identifiers import hash_tag
from stream.contract.messages import Message
from stream.meta.client import Accepted
from stream.redis.availability import PROBE_EVERY_S, RedisAway
from stream.redis.link import RedisLink
from stream.redis.scripts import Script
from stream.traffic.pace_script import SLOT_FIELDS

KEY_PREFIX: Final = "whatsapp-stream:ledger:"
RECORD_ATTEMPTS: Final = 2
# One caller a second finds out whether Redis is back. The second attempt comes once that caller has its answer.
RECORD_PAUSE_S: Final = 1.5 * PROBE_EVERY_S

# The first part of a claim: what is known of the message may end it. It needs `ledger_key`, `owner`, `again`,
# `most_doubts` and `now`, and gives what the second part writes, and the slots that the message has reserved.
LOOK: Final = f"""
local held = redis.call('HMGET', ledger_key, 'state', 'owner', 'lease', 'replica', 'doubts', 'doubted',
    '{"', '".join(SLOT_FIELDS)}')
local state, doubts, by = held[1], tonumber(held[5] or 0), held[6]
if state == 'sent' then return {{'sent', redis.call('HGET', ledger_key, 'answer')}} end
if state == 'sending' and held[2] ~= owner then
    local left = tonumber(held[3]) - now
    if left > 0 then return {{'busy', left}} end
    state, doubts, by = 'unknown', doubts + 1, held[4]
end
if state == 'held' then return {{'unknown', by}} end
if state == 'unknown' and (again ~= '1' or doubts > tonumber(most_doubts)) then return {{'unknown', by}} end
"""
# The second part: nothing forbids the send.
TAKE: Final = """
redis.call('HSET', ledger_key, 'state', 'sending', 'owner', owner, 'replica', replica, 'since', now,
    'lease', now + tonumber(lease_ms), 'doubts', doubts, 'doubted', by or '')
redis.call('PEXPIRE', ledger_key, ttl_ms)
"""

# What only a claim needs goes: a sent message stays for days, and this is most of what Redis holds.
_SENT: Final = Script("""
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'sent', 'answer', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
""")

# Both only while the claim is still this try's own: after its lease, another replica may hold the message, or have sent
# it. A doubt outlives a later refusal: what may have been delivered once stays so.
_OWN: Final = """
local held = redis.call('HMGET', KEYS[1], 'owner', 'state', 'doubts', 'replica')
if held[1] ~= ARGV[1] or held[2] ~= 'sending' then return 0 end
"""
_RELEASE: Final = Script(f"""{_OWN}
if tonumber(held[3]) > 0 then return redis.call('HSET', KEYS[1], 'state', 'unknown') end
return redis.call('DEL', KEYS[1])
""")
_DOUBT: Final = Script(f"""{_OWN}
redis.call('HINCRBY', KEYS[1], 'doubts', 1)
return redis.call('HSET', KEYS[1], 'state', ARGV[2], 'doubted', held[4])
""")


def _identity(message: Message) -> str:
    """What makes two messages the same: tenant, internal id, content of the payload, and the resend it belongs to."""
    parts = (message.tenant_id, message.internal_id, message.instructions.resend or "")
    return hashlib.sha256("\0".join(parts).encode() + b"\0" + message.payload_digest).hexdigest()


def key_of(message: Message) -> str:
    """Where Redis keeps a message's state."""
    return f"{KEY_PREFIX}{hash_tag(message.tenant_id)}:{_identity(message)}"


class SentLedger:
    """Records how claimed sends ended.

    Args:
        link: Redis, which may be away: then nothing is recorded for certain.
        ttl_ms: How long an end is remembered, in milliseconds.
        on_unrecorded: Called when a message was sent and that could not be recorded.
        sleep: How the pause before a second attempt to record waits.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        ttl_ms: int,
        on_unrecorded: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._link = link
        self._ttl_ms = ttl_ms
        self._on_unrecorded = on_unrecorded
        self._sleep = sleep

    async def record_sent(self, key: str, accepted: Accepted, *, claimed: bool, after_unknown: bool) -> None:
        """Remember that Meta accepted it."""
        fields = [accepted.wamid, accepted.wa_id, accepted.message_status, accepted.http_status, after_unknown]
        attempts = RECORD_ATTEMPTS if claimed else 1
        if not await self._write(_SENT, key, orjson.dumps(fields), self._ttl_ms, attempts=attempts):
            self._on_unrecorded()

    async def record_unknown(self, key: str, owner: str, *, send_again: bool) -> None:
        """Remember that it may have been delivered; without `send_again`, nothing but a resend sends it any more."""
        await self._write(_DOUBT, key, owner, "unknown" if send_again else "held", attempts=RECORD_ATTEMPTS)

    async def release(self, key: str, owner: str) -> None:
        """Give it back: this try certainly did not deliver it."""
        await self._write(_RELEASE, key, owner, attempts=RECORD_ATTEMPTS)

    async def _write(self, script: Script, key: str, *arguments: str | bytes | int, attempts: int) -> bool:
        """Record an end. A claim that Redis holds is worth a second attempt: unrecorded, it would end in doubt.

        Returns:
            Whether Redis has answered that it has it.
        """
        for attempt in range(attempts):
            if attempt:
                await self._sleep(RECORD_PAUSE_S)
            try:
                await self._link.run(script, (key,), arguments)
            except RedisAway:
                continue  # the link has logged it
            return True
        return False
