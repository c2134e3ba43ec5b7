"""Claims: the right to send a message now, asked for in one call to Redis, by one script.

The script is made of parts, each from the module that knows its state. Each may end the claim, and only the last of
them writes a claim:

1. What is known of the message (`ledger`). It is answered first, since a copy of a sent message needs nothing else.
2. Whether the platform's circuit is open, which the caller knows, or the tenant's or the phone number's
   (`stream.traffic.circuit_script`).
3. Whether there are cached credentials. It is claimed only then: a message that must wait for a fetch is not "sending".
4. Whether it is the message's turn within its rate limits (`stream.traffic.pace_script`): else it reserves one.
5. The claim itself (`ledger`).

All its keys have the tenant's hash tag, so that a Redis Cluster keeps them together.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, Final

import orjson

from stream.contract.identifiers import hash_tag
from stream.contract.messages import Message
from stream.delivery import ledger
from stream.delivery.claim import (
    AlreadySent,
    BeingSent,
    CircuitOpen,
    Claim,
    Granted,
    InDoubt,
    Keys,
    NoCredentials,
    Paced,
)
from stream.meta.client import Accepted
from stream.redis.availability import RedisAway
from stream.redis.link import RedisLink
from stream.redis.scripts import Script
from stream.tenants.cache import KEY_PREFIX as CREDENTIALS_PREFIX
from stream.traffic import circuit_script as circuits
from stream.traffic import pace_script as paces
from stream.traffic.circuit import Wait
from stream.traffic.circuit_script import Seen
from stream.traffic.pace_alone import CLOSED_LOOK_US, PaceAlone
from stream.traffic.paces import NO_LIMITS, REDIS, MessageLimits, limit_name
from stream.traffic.pacing import SECOND_US

LONGEST_LEFT_S: Final = 1e9  # 30 years: Redis' numbers are exact to that in microseconds

CLAIM: Final = Script(f"""
local ledger_key, credentials_key, circuits_key = unpack(KEYS)
local owner, number_field, platform_open, replica, lease_ms, ttl_ms, again, need_credentials, most_doubts = unpack(ARGV)
local left_us, pace_keys, pace_limits = tonumber(ARGV[10]), {{unpack(KEYS, 4)}}, {{unpack(ARGV, 11)}}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
{ledger.LOOK}
if platform_open == '1' then return {{'platform'}} end
{circuits.FUNCTIONS}
{circuits.GATE}
local entry = redis.call('GET', credentials_key)
local lacking = not entry and need_credentials == '1'
if not lacking then
{paces.FUNCTIONS}
{paces.GATE}
end
take_probes()
if lacking then return {{'no_credentials', seen}} end
{ledger.TAKE}
if doubts > 0 then return {{'again', entry, by, seen}} end
return {{'claimed', entry, seen}}
""")


class Claims:
    """Claims messages.

    Args:
        link: Redis, which may be away: then claims are granted, and nothing is recorded for certain.
        replica: This process's name.
        lease_s: How long a send may take, in seconds; longer than the longest one.
        ttl_ms: How long a claim that nobody ended is remembered, in milliseconds.
        most_doubts: Sends without an answer after which a message is not sent again, whatever its headers say.
        alone: Paces messages while Redis is away.
        draw: Source of randomness in [0, 1): who waits for the same thing does not come back at the same moment.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        replica: str,
        lease_s: float,
        ttl_ms: int,
        most_doubts: int,
        alone: PaceAlone | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._link = link
        self._alone = alone or PaceAlone("open")
        self._draw = draw
        lease_ms = int(lease_s * 1000)
        # All that a claim tells Redis besides whose it is, by what the claim allows and needs.
        self._terms = {
            (again, need): (replica, lease_ms, ttl_ms, str(int(again)), str(int(need)), most_doubts)
            for again in (False, True)
            for need in (False, True)
        }

    def keys(self, message: Message) -> Keys:
        """What a claim of the message reads and writes."""
        tag = hash_tag(message.tenant_id)
        return ledger.key_of(message), CREDENTIALS_PREFIX + tag, circuits.KEY_PREFIX + tag

    async def claim(  # noqa: PLR0913 - all that a claim depends on
        self,
        keys: Keys,
        owner: str,
        number_field: str,
        *,
        limits: MessageLimits = NO_LIMITS,
        left_s: float = math.inf,
        platform: CircuitOpen | None = None,
        send_again: bool,
        need_credentials: bool,
        needs_ledger: bool = False,
    ) -> Claim:
        """Claim a message for one try, and read its tenant's credentials on the way.

        Args:
            keys: The message, from `keys`.
            owner: This try; claiming twice with the same owner renews the lease.
            number_field: The circuit of its phone number.
            limits: The rate limits that it has to keep.
            left_s: How long it is valid, in seconds; 0 or less, or without a turn of its own: no limit holds it.
            platform: The platform's circuit, if it is open: the answer, unless something is known of the message.
            send_again: Whether a message in doubt may be sent again.
            need_credentials: Claim nothing if there are no credentials.
            needs_ledger: Grant nothing while Redis is away.
        """
        terms = self._terms[send_again, need_credentials]
        left_us = int(min(left_s, LONGEST_LEFT_S) * SECOND_US)
        arguments = (owner, number_field, 0 if platform is None else 1, *terms, left_us, *limits.terms)
        try:
            verdict, *rest = await self._link.run(CLAIM, keys + limits.keys, arguments)
        except RedisAway as away:
            if needs_ledger:
                return Paced(CLOSED_LOOK_US / SECOND_US, REDIS)
            recorded = away.may_have_run
            if need_credentials:
                return NoCredentials(recorded)
            paced = None if recorded else self._paced_alone(keys[0], limits, left_us)
            return paced or Granted(entry=None, recorded=recorded)
        if verdict == b"circuit":
            return self._circuit_open(*rest)
        if verdict == b"pace":
            return Paced(rest[0] / SECOND_US, limit_name(rest[1] - 1))
        return platform if platform and verdict == b"platform" else _read(verdict, rest)

    def _paced_alone(self, key: str, limits: MessageLimits, left_us: int) -> Paced | None:
        if left_us <= 0 or not limits.keys:
            return None
        verdict = self._alone.ask(key, limits, left_us)
        return Paced(verdict.wait_us / SECOND_US, limit_name(verdict.bound_by)) if verdict.wait_us else None

    def _circuit_open(self, field: bytes, circuit: bytes, least_ms: int, spread_ms: int) -> CircuitOpen:
        left_s = Wait(least_ms, spread_ms).length_s(self._draw())
        return CircuitOpen(left_s, field.decode(), circuits.read_circuit(circuit))


def _read(verdict: bytes, rest: list[Any]) -> Claim:
    match verdict:
        case b"claimed":
            return Granted(rest[0], seen=_seen(rest[1:]))
        case b"no_credentials":
            return NoCredentials(seen=_seen(rest))
        case b"sent":
            *accepted, after_unknown = orjson.loads(rest[0])
            return AlreadySent(Accepted(*accepted), after_unknown)
        case b"busy":
            return BeingSent(left_s=rest[0] / 1000)
        case b"unknown":
            return InDoubt(replica=rest[0].decode())
        case _:  # "again"
            return Granted(rest[0], after_unknown=rest[1].decode(), seen=_seen(rest[2:]))


def _seen(rest: list[list[bytes]]) -> Seen:
    return circuits.read_seen(rest[0]) if rest and rest[0] else ()
