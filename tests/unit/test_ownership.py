from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from stream.contract.identifiers import PhoneNumberId, TenantId
from stream.tenants import ownership as module
from stream.tenants.credentials import Credentials, NumberNotOwned
from stream.tenants.ownership import NumberOwnership

OWN, OTHER = PhoneNumberId("100000001"), PhoneNumberId("200000002")
Lines = list[MutableMapping[str, Any]]


def of(tenant: str, number: str | None = OWN) -> Credentials:
    return Credentials(TenantId(tenant), "EAAGtoken", number)


@pytest.mark.parametrize(("named", "asked"), [(OWN, OWN), (None, OTHER)], ids=["its own", "none is named"])
def test_a_number_that_the_credentials_do_not_contradict_is_fine(
    named: str | None, asked: PhoneNumberId, lines: Lines
) -> None:
    for ownership in (NumberOwnership("strict"), NumberOwnership("warn")):
        ownership.check(of("acme", named), asked)
    assert lines == []


def test_strict_refuses_every_time_and_warns_of_nothing(lines: Lines) -> None:
    ownership = NumberOwnership("strict")
    for _ in range(2):
        with pytest.raises(NumberNotOwned, match=r"100000001.*200000002"):
            ownership.check(of("acme"), OTHER)
    assert lines == []


def test_a_warning_comes_once_for_each_pair_of_tenant_and_number(lines: Lines) -> None:
    ownership = NumberOwnership("warn")
    for _ in range(3):
        for tenant, number in (("acme", OTHER), ("acme", PhoneNumberId("3")), ("globex", OTHER)):
            ownership.check(of(tenant), number)
    pairs = [(line["tenantId"], line["phoneNumberId"]) for line in lines]
    assert pairs == [("acme", OTHER), ("acme", "3"), ("globex", OTHER)]
    assert {line["event"] for line in lines} == {"number_not_of_tenant"}


def test_the_pairs_that_are_remembered_are_bounded(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    ownership = NumberOwnership("warn")
    for tenant in ("a", "b", "c", "b", "c", "a"):
        ownership.check(of(tenant), OTHER)
    assert [line["tenantId"] for line in lines] == ["a", "b", "c", "a"]
