"""The limits of a message: which they are, and under which keys Redis keeps how far they are used."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Final

import msgspec

from stream.contract.identifiers import PhoneNumberId, TenantId, hash_tag
from stream.traffic.pace_script import KEY_PREFIX
from stream.traffic.pacing import SECOND_US, Limit

NUMBER, TENANT, PAIR = 0, 1, 2  # the places of a message's limits
LIMIT_NAMES: Final = ("phone_number", "tenant", "pair")
REDIS: Final = "redis"  # it is away, and no message goes without it
LEAST_PER_S: Final = 1 / 3600  # a slower rate is a mistake: a message an hour is sent still
REMEMBERED: Final = 10_000  # senders; one that is forgotten is made again, which costs a few microseconds


class Rates(msgspec.Struct, frozen=True):
    """What the settings say; 0 is no limit.

    Attributes:
        number_per_s: `PHONE_NUMBER_RATE`.
        tenant_per_minute: `TENANT_RATE_PER_MINUTE`.
        pair_interval_ms: `PAIR_INTERVAL_MS`.
        pair_burst: `PAIR_BURST`.
    """

    number_per_s: float = 0
    tenant_per_minute: int = 0
    pair_interval_ms: int = 0
    pair_burst: int = 1


class MessageLimits(msgspec.Struct, frozen=True):
    """The limits of a message: its number's, its tenant's and, if it has a recipient that counts, its pair's.

    Attributes:
        keys: Where Redis keeps them.
        limits: What they allow.
        terms: The same as numbers, for the script.
    """

    keys: tuple[str, ...]
    limits: tuple[Limit, ...]
    terms: tuple[int, ...]

    @classmethod
    def of(cls, keys: tuple[str, ...], limits: tuple[Limit, ...]) -> MessageLimits:
        """These limits under these keys."""
        return cls(keys, limits, tuple(part for each in limits for part in (each.interval_us, each.span_us)))


NO_LIMITS: Final = MessageLimits((), (), ())


def limit_name(place: int) -> str:
    """The name of a message's limit, by its place."""
    return LIMIT_NAMES[place] if place >= 0 else REDIS


class Paces:
    """Knows the limits of every message.

    Args:
        rates: The settings.
        own_rate: What a tenant's credentials say about its sends per second, as far as this process knows them.
    """

    def __init__(self, rates: Rates, own_rate: Callable[[TenantId], float | None] = lambda _: None) -> None:
        self._number_per_s = rates.number_per_s
        self._tenant = Limit.of(rates.tenant_per_minute, 60 * SECOND_US)
        pair_us = rates.pair_interval_ms * 1000
        self._pair = Limit(pair_us, pair_us * rates.pair_burst)
        self._pair_terms = (self._pair.interval_us, self._pair.span_us)
        self._own_rate = own_rate
        self._senders: dict[tuple[TenantId, PhoneNumberId], tuple[float, MessageLimits]] = {}

    def of(self, tenant_id: TenantId, phone_number_id: PhoneNumberId, recipient: str | None) -> MessageLimits:
        """The limits of a message; those of the settings for a tenant whose credentials the process has not seen."""
        own = self._own_rate(tenant_id)
        rate = max(own, LEAST_PER_S) if own is not None and 0 < own < math.inf else self._number_per_s
        known = self._senders.get((tenant_id, phone_number_id))
        if known is None or known[0] != rate:
            known = self._remember(tenant_id, phone_number_id, rate)
        sender = known[1]
        if not self._pair.interval_us or recipient is None:
            return sender
        # Nobody should read recipients off the keys of Redis.
        pair = hashlib.sha256(f"{phone_number_id}:{recipient}".encode()).hexdigest()[:32]
        key = f"{KEY_PREFIX}{hash_tag(tenant_id)}:pair:{pair}"
        return MessageLimits((*sender.keys, key), (*sender.limits, self._pair), sender.terms + self._pair_terms)

    def _remember(
        self, tenant_id: TenantId, phone_number_id: PhoneNumberId, rate: float
    ) -> tuple[float, MessageLimits]:
        if len(self._senders) >= REMEMBERED:
            self._senders.clear()
        prefix = KEY_PREFIX + hash_tag(tenant_id)
        keys = (f"{prefix}:number:{phone_number_id}", f"{prefix}:tenant")
        known = (rate, MessageLimits.of(keys, (Limit.of(rate, SECOND_US), self._tenant)))
        self._senders[tenant_id, phone_number_id] = known
        return known
