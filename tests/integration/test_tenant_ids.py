"""A tenant id may be any text: no service, key or name that it passes through breaks it or takes it for another."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from redis.asyncio import Redis

from stream.contract.identifiers import TenantId, routing_word
from stream.tenants.cache import entry_key
from tests.scene import Scene, number, text_message, unique

ODD = [
    "a b/c?d%e#ü",
    "+49 30 1234567",
    "{}",
    "}",
    "a.b",
    "*",
    "#",
    "../../me",
    "-x",
    "it's \"\\",
    "%2F",
    "\u2028",
    "\U0001f600" * 100,
]


@pytest.mark.parametrize("odd", ODD)
async def test_a_tenant_of_any_name_is_served_under_its_own_name(scene: Scene, odd: str) -> None:
    tenant, to, other = odd + unique(""), number(), number("99912388001")
    sent, refused = (text_message(recipient, tenant, unique("odd")) for recipient in (to, other))
    for message in (sent, refused):
        await scene.send(message)
    request = await scene.accepted(to)
    assert request.token == scene.tenants.token(tenant)
    assert scene.tenants.fetches[tenant] == 1
    event = await scene.event(f"outbound.sent.{routing_word(TenantId(tenant))}", sent["metadata"]["internalId"])
    assert event["tenantId"] == tenant
    alert = await scene.event(f"outbound.alert.{routing_word(TenantId(tenant))}", refused["metadata"]["internalId"])
    assert alert["tenantId"] == tenant
    assert (await scene.letter(refused["metadata"]["internalId"])).headers["x-tenant-id"] == tenant
    await scene.logged(scene.workers[0], "delivered", tenantId=tenant)


@pytest.mark.parametrize("tenant", ["*", "a.#", "\U0001f600" * 128])
async def test_a_tenant_whose_name_no_routing_key_can_carry_has_events_too(scene: Scene, tenant: str) -> None:
    message = text_message(number(), tenant, unique("odd"))
    await scene.send(message)
    event = await scene.event(f"outbound.sent.{routing_word(TenantId(tenant))}", message["metadata"]["internalId"])
    assert event["tenantId"] == tenant


async def test_an_operator_can_forget_the_credentials_of_any_tenant(scene: Scene) -> None:
    tenant, to = "a b/c?d%e#ü{}" + unique(""), number()
    await scene.send(text_message(to, tenant, unique("odd")))
    await scene.accepted(to)
    arguments = [sys.executable, "-m", "stream.operations.cli", "cache", "invalidate", tenant]
    environment = {**os.environ, "REDIS_URL": scene.settings["REDIS_URL"]}
    process = await asyncio.create_subprocess_exec(*arguments, env=environment)
    assert await process.wait() == 0
    async with Redis.from_url(scene.settings["REDIS_URL"]) as redis:
        assert await redis.get(entry_key(TenantId(tenant))) is None
