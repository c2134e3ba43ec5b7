"""The limits of a message, and where they are kept."""

from __future__ import annotations

import math

import pytest

from stream.contract.identifiers import PhoneNumberId, TenantId
from stream.traffic.paces import MessageLimits, Paces, Rates, limit_name
from stream.traffic.pacing import SECOND_US, UNLIMITED, Limit

ACME, NUMBER, RECIPIENT = TenantId("acme"), PhoneNumberId("100000001"), "16505551234"
RATES = Rates(number_per_s=80, tenant_per_minute=120, pair_interval_ms=6_000, pair_burst=45)


def limits(rates: Rates = RATES, own: float | None = None, recipient: str | None = RECIPIENT) -> MessageLimits:
    return Paces(rates, lambda _: own).of(ACME, NUMBER, recipient)


def test_a_message_keeps_the_limits_of_its_number_its_tenant_and_its_pair() -> None:
    found = limits()
    assert found.limits == (
        Limit(12_500, SECOND_US),
        Limit(SECOND_US // 2, 60 * SECOND_US),
        Limit(6 * SECOND_US, 270 * SECOND_US),
    )
    assert found.terms == (12_500, SECOND_US, SECOND_US // 2, 60 * SECOND_US, 6 * SECOND_US, 270 * SECOND_US)
    assert [limit_name(place) for place in range(-1, 3)] == ["redis", "phone_number", "tenant", "pair"]


def test_all_keys_are_in_the_tenants_slot_of_a_cluster_and_show_no_recipient() -> None:
    keys = limits().keys
    assert keys[:2] == ("whatsapp-stream:pace:{acme}:number:100000001", "whatsapp-stream:pace:{acme}:tenant")
    assert keys[2].startswith("whatsapp-stream:pace:{acme}:pair:")
    assert RECIPIENT not in keys[2]
    others = [Paces(RATES).of(ACME, PhoneNumberId("2"), RECIPIENT), Paces(RATES).of(ACME, NUMBER, "1")]
    assert len({keys[2], *(other.keys[2] for other in others)}) == 3


@pytest.mark.parametrize("spelled", ["+16505551234", "+1 (650) 555-1234", "1-650-5551234"])
def test_a_recipient_is_the_same_however_the_number_is_written(spelled: str) -> None:
    assert limits(recipient=spelled) == limits()


@pytest.mark.parametrize(("rates", "recipient"), [(RATES, None), (Rates(pair_interval_ms=0), RECIPIENT)])
def test_a_message_without_a_recipient_or_without_that_limit_has_no_pair(rates: Rates, recipient: str | None) -> None:
    assert len(limits(rates, recipient=recipient).keys) == 2


@pytest.mark.parametrize(
    ("own", "rate"),
    [(None, 80), (20.0, 20), (0.5, 0.5), (5e-324, 1 / 3600), (0.0, 80), (-1.0, 80), (math.inf, 80), (math.nan, 80)],
)
def test_the_limit_that_the_credentials_name_wins_if_it_is_one(own: float | None, rate: float) -> None:
    assert limits(own=own).limits[0] == Limit(int(SECOND_US / rate), SECOND_US)


def test_a_limit_that_the_credentials_name_later_or_anew_holds_from_then_on() -> None:
    own: list[float | None] = [None, 20.0, 40.0]
    paces = Paces(RATES, lambda _: own.pop(0))
    assert [paces.of(ACME, NUMBER, None).limits[0].interval_us for _ in range(3)] == [12_500, 50_000, 25_000]


def test_no_limits_are_limits_that_let_everything_go() -> None:
    assert limits(Rates()).limits == (UNLIMITED, UNLIMITED)
