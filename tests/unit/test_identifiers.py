from __future__ import annotations

import hashlib
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from stream.contract.identifiers import PhoneNumberId, TenantId, hash_tag, routing_word
from stream.delivery.claims import Claims
from stream.redis.link import RedisLink
from stream.tenants.cache import entry_key, lease_key
from stream.traffic import platform
from stream.traffic.open_circuits import KEYS as OPEN_KEYS
from stream.traffic.paces import Paces, Rates
from tests.unit.doubles import Clock, FakeRedis, message

ODD = [
    "acme",
    "a b/c?d%e#ü",
    "+49 30 1234567",
    "{",
    "}",
    "{}",
    "}{",
    "a}b",
    "{a}{b}",
    "%7D",
    "*",
    "#",
    " ",
    "\U0001f600" * 128,
]


@pytest.mark.parametrize("tenant", ODD)
def test_the_keys_of_a_tenant_are_on_one_node_of_a_redis_cluster(tenant: str) -> None:
    link = RedisLink(cast("Redis", FakeRedis(Clock())))
    claims = Claims(link, replica="r", lease_s=1, ttl_ms=1, most_doubts=1)
    keys = [*claims.keys(message(tenantId=tenant)), entry_key(TenantId(tenant)), lease_key(TenantId(tenant))]
    paces = Paces(Rates(1, 60, 6000, 45)).of(TenantId(tenant), PhoneNumberId("100000001"), "16505551234")
    assert len({key_slot(key.encode()) for key in (*keys, *paces.keys)}) == 1


def test_the_keys_that_are_looked_at_each_second_are_on_one_node_of_a_redis_cluster() -> None:
    assert len({key_slot(key.encode()) for key in (platform.KEY, *OPEN_KEYS.values())}) == 1


def test_no_two_tenants_share_a_key() -> None:
    assert len({hash_tag(TenantId(tenant)) for tenant in ODD}) == len(ODD)


@pytest.mark.parametrize(
    "tenant", ["acme", "acme.eu", "a b/c?d%e#ü", "+49 30 1234567", "a*b", "a..b", "x" * 128, "ü" * 120]
)
def test_a_routing_key_names_a_tenant_by_its_id(tenant: str) -> None:
    assert routing_word(TenantId(tenant)) == tenant


@pytest.mark.parametrize("tenant", ["*", "#", "a.*", "#.b", "a.#.b", "ü" * 121, "\U0001f600" * 128])
def test_an_id_that_no_binding_can_name_or_no_key_can_hold_is_hashed(tenant: str) -> None:
    word = routing_word(TenantId(tenant))
    assert word == "sha256-" + hashlib.sha256(tenant.encode()).hexdigest()
    assert len(f"outbound.alert.{word}".encode()) <= 255
