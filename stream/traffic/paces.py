"""The limits of a message: which they are, and under which keys Redis keeps how far they are used."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from stream.contract.identifiers import PhoneNumberId, TenantId, hash_tag
from stream.traffic.pace_script import KEY_PREFIX
from stream.traffic.pacing import SECOND_US, Limit

NUMBER, TENANT, PAIR = 0, 1, 2  # the places of a message's limits
LIMIT_NAMES: Final = ("phone_number", "tenant", "pair")
REDIS: Final = "redis"  # it is away, and no message goes without it
LEAST_PER_S: Final = 1 / 3600  # a slower rate is a mistake: a message an hour is sent still
_PUNCTUATION: Final = str.maketrans("", "", "+-() ")  # Meta reads a phone number without it
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
        terms: What they allow, as numbers for the script: interval and span of each.
    """

    keys: tuple[str, ...]
    terms: tuple[int, ...]

    @classmethod
    def of(cls, keys: tuple[str, ...], limits: Sequence[Limit]) -> MessageLimits:
        """These limits under these keys."""
        return cls(keys, tuple(part for each in limits for part in (each.interval_us, each.span_us)))

    @property
    def limits(self) -> tuple[Limit, ...]:
        """What they allow."""
        return tuple(itertools.starmap(Limit, zip(self.terms[::2], self.terms[1::2], strict=True)))


NO_LIMITS: Final = MessageLimits((), ())


class _Sender(msgspec.Struct, frozen=True):
    """What the limits of a number's messages have in common.

    Attributes:
        rate: Sends a second.
        limits: Those of a message without a recipient that counts.
        pair_terms: The terms of a message with one.
        pair_key: How the key of a pair begins.
    """

    rate: float
    limits: MessageLimits
    pair_terms: tuple[int, ...]
    pair_key: str


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
        self._own_rate = own_rate
        self._senders: dict[tuple[TenantId, PhoneNumberId], _Sender] = {}

    def of(self, tenant_id: TenantId, phone_number_id: PhoneNumberId, recipient: str | None) -> MessageLimits:
        """The limits of a message; those of the settings for a tenant whose credentials the process has not seen."""
        own = self._own_rate(tenant_id)
        rate = max(own, LEAST_PER_S) if own is not None and 0 < own < math.inf else self._number_per_s
        sender = self._senders.get((tenant_id, phone_number_id))
        if sender is None or sender.rate != rate:
            sender = self._remember(tenant_id, phone_number_id, rate)
        if not self._pair.interval_us or recipient is None:
            return sender.limits
        # Nobody should read recipients off the keys of Redis.
        names = f"{phone_number_id}:{recipient.translate(_PUNCTUATION)}"
        pair = hashlib.sha256(names.encode()).hexdigest()[:32]
        return MessageLimits((*sender.limits.keys, sender.pair_key + pair), sender.pair_terms)

    def _remember(self, tenant_id: TenantId, phone_number_id: PhoneNumberId, rate: float) -> _Sender:
        if len(self._senders) >= REMEMBERED:
            self._senders.clear()
        prefix = KEY_PREFIX + hash_tag(tenant_id)
        keys = (f"{prefix}:number:{phone_number_id}", f"{prefix}:tenant")
        limits = (Limit.of(rate, SECOND_US), self._tenant)
        with_pair = MessageLimits.of(keys, (*limits, self._pair)).terms
        known = _Sender(rate, MessageLimits.of(keys, limits), with_pair, f"{prefix}:pair:")
        self._senders[tenant_id, phone_number_id] = known
        return known
