"""What follows from the settings: times, limits and rules, as the rooms below take them. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from stream.delivery.arrival import Limits
from stream.delivery.decision import RetryPolicy
from stream.retry import RetryHandler
from stream.settings.model import Settings
from stream.tenants.provider import PATIENCE_S
from stream.traffic.circuit import Rules
from stream.traffic.paces import Rates

CONNECT_SHARE: Final = 0.5  # of META_API_TIMEOUT_MS: so a connect that hangs differs from an answer that hangs
LEASE_MARGIN_S: Final = 5.0  # a lease is this much longer than the longest send: it only ends if the replica has died
BOUND_MARGIN_S: Final = 5.0  # added to the time of two sends and two waits for credentials, the most that a try makes
INTAKE_AHEAD: Final = 2  # times the slots: at most one and a half are in flight, the rest is looked at and sorted


def send_s(settings: Settings) -> float:
    """How long a send may take, in seconds."""
    return settings.meta_api_timeout_ms / 1000


def connect_s(settings: Settings) -> float:
    """How long the connect of a send may take, in seconds."""
    return send_s(settings) * CONNECT_SHARE


def lease_s(settings: Settings) -> float:
    """How long a claim, and a probe of a circuit, last, in seconds."""
    return send_s(settings) + LEASE_MARGIN_S


def bound_s(settings: Settings) -> float:
    """How long a try may take, in seconds."""
    return 2 * (send_s(settings) + PATIENCE_S) + BOUND_MARGIN_S


def limits(settings: Settings) -> Limits:
    """How large and how old a message may be."""
    return Limits(settings.message_max_bytes, timedelta(milliseconds=settings.message_max_age_ms))


def looked_at(settings: Settings) -> int:
    """How many messages of the intake are here at once, in flight or waiting for a slot."""
    return settings.rabbitmq_prefetch * (INTAKE_AHEAD if settings.lanes else 1)


def tenant_share(settings: Settings) -> float:
    """The share of one tenant. Without lanes nothing gets past a backlog: a share would only leave slots empty."""
    return settings.tenant_share if settings.lanes else 1.0


def rates(settings: Settings) -> Rates:
    """The rate limits of messages."""
    return Rates(
        number_per_s=settings.phone_number_rate,
        tenant_per_minute=settings.tenant_rate_per_minute,
        pair_interval_ms=settings.pair_interval_ms,
        pair_burst=settings.pair_burst,
    )


def rules(settings: Settings) -> Rules:
    """How circuits open."""
    return Rules(settings.circuit_failures, settings.circuit_open_ms, lease_ms=int(lease_s(settings) * 1000))


def holds(settings: Settings) -> bool:
    """Whether messages wait until the trouble of their tenant or number ends."""
    return settings.on_tenant_failure == "hold"


def retry_policy(settings: Settings) -> RetryPolicy:
    """How often and how long to retry."""
    base_s, cap_s = settings.meta_api_retry_delay_ms / 1000, settings.meta_api_retry_max_delay_ms / 1000
    return RetryPolicy(
        failures=settings.meta_api_max_retries,
        throttles=settings.rate_limit_max_retries,
        backoff=RetryHandler(base_delay_s=base_s, cap_s=cap_s),
        hold=holds(settings),
    )
