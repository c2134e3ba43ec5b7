"""The sent-once ledger: what is known of each message at Meta, in Redis, shared by all replicas.

Meta has no idempotency key, brokers deliver again and replicas die. So each message is claimed in one atomic call just
before its request leaves, and its end is written in one call after:

    (nothing) ──claim──▶ sending ──accepted──▶ sent          a later copy is a duplicate
                            │  └───refused, or never left──▶ (nothing)      a retry may claim it again
                            └──────no answer, or the lease ended──▶ unknown  ON_UNKNOWN_OUTCOME decides

A doubt is never forgotten: once a send got no answer, a later refusal leads back to `unknown`, not to nothing.

A lease that has ended means that a replica died between the request and its answer. That is `unknown`, not free.
The claim also reads the tenant's cached credentials: one round trip. What is known of the message is answered first,
since a copy of a sent message needs none. It is claimed only if they are there: a message that must wait for a fetch is
not "sending" meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import orjson

from stream.contract.identifiers import hash_tag
from stream.contract.messages import Message
from stream.meta.client import Accepted
from stream.redis.availability import PROBE_EVERY_S, RedisAway
from stream.redis.link import RedisLink
from stream.redis.scripts import Script

KEY_PREFIX: Final = "whatsapp-stream:ledger:"
RECORD_ATTEMPTS: Final = 2

_CLAIM: Final = Script("""
local entry = redis.call('GET', KEYS[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'state', 'owner', 'lease', 'replica', 'doubts', 'doubted')
local state, doubts, by = held[1], tonumber(held[5] or 0), held[6]
if state == 'sent' then return {'sent', entry, redis.call('HGET', KEYS[1], 'answer')} end
if state == 'sending' and held[2] ~= ARGV[1] then
    local left = tonumber(held[3]) - now
    if left > 0 then return {'busy', entry, left} end
    state, doubts, by = 'unknown', doubts + 1, held[4]
end
if state == 'held' then return {'unknown', entry, by} end
if state == 'unknown' and (ARGV[5] ~= '1' or doubts > tonumber(ARGV[7])) then return {'unknown', entry, by} end
if not entry and ARGV[6] == '1' then return {'no_credentials'} end
redis.call('HSET', KEYS[1], 'state', 'sending', 'owner', ARGV[1], 'replica', ARGV[2], 'since', now,
    'lease', now + tonumber(ARGV[3]), 'doubts', doubts, 'doubted', by or '')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if doubts > 0 then return {'again', entry, by} end
return {'claimed', entry}
""")

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


class Granted(msgspec.Struct, frozen=True):
    """The message may be sent now.

    Attributes:
        entry: The tenant's cached credentials, as they stand in Redis; `None` when there are none.
        after_unknown: An earlier send of it may have been delivered; the replica that made it, if known.
        recorded: Redis says so too, or may, since its answer was lost; false while it is away.
    """

    entry: bytes | None
    after_unknown: str | None = None
    recorded: bool = True


class NoCredentials(msgspec.Struct, frozen=True):
    """Nothing is known that forbids the send, and nothing was claimed: the tenant's credentials are not cached.

    Attributes:
        recorded: Redis' answer was lost: it may have them, and have made the claim.
    """

    recorded: bool = False


class AlreadySent(msgspec.Struct, frozen=True):
    """Meta has accepted the message before.

    Attributes:
        first: What Meta answered then.
        after_unknown: A send before that one may have been delivered too.
    """

    first: Accepted
    after_unknown: bool = False


class BeingSent(msgspec.Struct, frozen=True):
    """Another try is sending it now.

    Attributes:
        left_s: When its lease ends, in seconds from now.
    """

    left_s: float


class InDoubt(msgspec.Struct, frozen=True):
    """An earlier send may have been delivered, and it must not be sent again.

    Attributes:
        replica: Which replica made that send.
    """

    replica: str


Claim = Granted | NoCredentials | AlreadySent | BeingSent | InDoubt


def identity(message: Message) -> str:
    """What makes two messages the same: tenant, internal id, content of the payload, and the resend it belongs to."""
    parts = (message.tenant_id, message.internal_id, message.instructions.resend or "")
    return hashlib.sha256("\0".join(parts).encode() + b"\0" + message.payload_digest).hexdigest()


class SentLedger:
    """Claims messages and records their ends.

    Args:
        link: Redis, which may be away: then every claim is granted, and nothing is recorded for certain.
        replica: This process's name.
        lease_s: How long a send may take, in seconds; longer than the longest one.
        ttl_ms: How long an end is remembered, in milliseconds.
        most_doubts: Sends without an answer after which a message is not sent again, whatever its headers say.
        sleep: How the pause before a second attempt to record waits.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        replica: str,
        lease_s: float,
        ttl_ms: int,
        most_doubts: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._link = link
        self._ttl_ms = ttl_ms
        self._sleep = sleep
        lease_ms = int(lease_s * 1000)
        # All that a claim tells Redis besides its owner, by what the claim allows and needs.
        self._terms = {
            (again, need): (replica, lease_ms, ttl_ms, str(int(again)), str(int(need)), most_doubts)
            for again in (False, True)
            for need in (False, True)
        }

    def key(self, message: Message) -> str:
        """Where Redis keeps the message's state: beside its tenant's credentials, which the claim reads too."""
        return f"{KEY_PREFIX}{hash_tag(message.tenant_id)}:{identity(message)}"

    async def claim(
        self, key: str, owner: str, credentials_key: str, *, send_again: bool, need_credentials: bool
    ) -> Claim:
        """Claim a message for one try, and read its tenant's credentials on the way.

        Args:
            key: The message, from `key`.
            owner: This try; claiming twice with the same owner renews the lease.
            credentials_key: What to read.
            send_again: Whether a message in doubt may be sent again.
            need_credentials: Claim nothing if there are no credentials.
        """
        terms = self._terms[send_again, need_credentials]
        try:
            answer = await self._link.run(_CLAIM, (key, credentials_key), (owner, *terms))
        except RedisAway as away:
            recorded = away.may_have_run
            return NoCredentials(recorded) if need_credentials else Granted(entry=None, recorded=recorded)
        return _read(answer)

    async def record_sent(self, key: str, accepted: Accepted, *, claimed: bool, after_unknown: bool) -> None:
        """Remember that Meta accepted it."""
        fields = [accepted.wamid, accepted.wa_id, accepted.message_status, accepted.http_status, after_unknown]
        await self._write(_SENT, key, orjson.dumps(fields), self._ttl_ms, attempts=RECORD_ATTEMPTS if claimed else 1)

    async def record_unknown(self, key: str, owner: str, *, send_again: bool) -> None:
        """Remember that it may have been delivered; without `send_again`, nothing but a resend sends it any more."""
        await self._write(_DOUBT, key, owner, "unknown" if send_again else "held", attempts=RECORD_ATTEMPTS)

    async def release(self, key: str, owner: str) -> None:
        """Give it back: this try certainly did not deliver it."""
        await self._write(_RELEASE, key, owner, attempts=RECORD_ATTEMPTS)

    async def _write(self, script: Script, key: str, *arguments: str | bytes | int, attempts: int) -> None:
        """Record an end. A claim that Redis holds is worth a second attempt: unrecorded, it would end in doubt."""
        for attempt in range(attempts):
            if attempt:
                await self._sleep(PROBE_EVERY_S)
            try:
                await self._link.run(script, (key,), arguments)
            except RedisAway:
                continue  # the link has logged it
            return


def _read(answer: list[Any]) -> Claim:
    verdict, *rest = answer
    match verdict:
        case b"claimed":
            return Granted(entry=rest[0])
        case b"no_credentials":
            return NoCredentials()
        case b"sent":
            *accepted, after_unknown = orjson.loads(rest[1])
            return AlreadySent(Accepted(*accepted), after_unknown)
        case b"busy":
            return BeingSent(left_s=rest[1] / 1000)
        case b"unknown":
            return InDoubt(replica=rest[1].decode())
        case _:  # "again"
            return Granted(entry=rest[0], after_unknown=rest[1].decode())
