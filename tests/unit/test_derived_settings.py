from __future__ import annotations

from datetime import timedelta

from stream.settings import Settings, derived
from stream.tenants.provider import PATIENCE_S


def settings(**changes: object) -> Settings:
    return Settings(tenant_service_url="http://tenants:3000", **changes)  # type: ignore[arg-type]  # of any field


def test_a_lease_outlasts_the_longest_send() -> None:
    slow = settings(meta_api_timeout_ms=12_000)
    assert derived.connect_s(slow) < derived.send_s(slow) == 12 < derived.lease_s(slow)
    assert derived.rules(slow).lease_ms == derived.lease_s(slow) * 1000


def test_a_try_has_the_time_for_two_sends_and_two_waits_for_credentials() -> None:
    assert derived.bound_s(settings(meta_api_timeout_ms=12_000)) > 2 * (12 + PATIENCE_S)


def test_without_lanes_one_tenant_may_hold_every_slot_and_nothing_is_looked_at_ahead() -> None:
    fair, plain = settings(rabbitmq_prefetch=7), settings(rabbitmq_prefetch=7, lanes=0)
    assert (derived.tenant_share(fair), derived.looked_at(fair)) == (0.5, 14)
    assert (derived.tenant_share(plain), derived.looked_at(plain)) == (1.0, 7)


def test_what_is_set_reaches_the_policy_and_the_limits() -> None:
    strict = settings(
        meta_api_max_retries=1, rate_limit_max_retries=2, on_tenant_failure="hold", message_max_bytes=4096
    )
    policy = derived.retry_policy(strict)
    assert (policy.failures, policy.throttles, policy.hold) == (1, 2, True)
    assert derived.limits(strict).max_bytes == 4096
    assert derived.limits(strict).max_age == timedelta(days=1)
