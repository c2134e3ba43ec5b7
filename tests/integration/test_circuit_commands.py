"""`stream circuits` on a real Redis, and what the claims of messages make of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.world import World
from stream.contract.events import Scope
from stream.contract.identifiers import TenantId
from stream.delivery.claim import CircuitOpen, Claim, Granted, Keys
from stream.delivery.claims import Claims
from stream.redis.link import RedisLink
from stream.traffic.circuit import Failure
from stream.traffic.circuit_script import KEY_PREFIX
from stream.traffic.platform import KEY as PLATFORM_KEY
from tests.commands import in_a_process
from tests.integration.test_circuits import Replica
from tests.scene import unique

pytestmark = pytest.mark.any_servers  # what Redis does for circuits: test_circuits.py


class Shell:
    """An operator's shell."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url

    async def __call__(self, *words: str) -> tuple[int, str]:
        """Run a command; returns its exit code and what it printed."""
        return await in_a_process(self._redis_url, "circuits", *words)

    async def listed(self, name: str) -> list[dict[str, Any]]:
        _, text = await self("list", "--json")
        return [line for line in map(json.loads, text.splitlines()) if line["id"] == name]


@pytest.fixture
def shell(world: World) -> Shell:
    return Shell(world.redis.url)


async def claim(link: RedisLink, tenant: str, number: str = "1") -> Claim:
    claims = Claims(link, replica="here", lease_s=60, ttl_ms=60_000, most_doubts=2)
    keys: Keys = (unique(f"circuit-{{{tenant}}}"), "no-such-key", f"{KEY_PREFIX}{{{tenant}}}")
    return await claims.claim(keys, unique("try"), f"number:{number}", send_again=True, need_credentials=False)


async def test_a_circuit_that_a_person_opens_stays_open_until_a_person_closes_it(link: RedisLink, shell: Shell) -> None:
    tenant = unique("by-hand")
    assert await shell("open", "tenant", tenant, "--reason", "token is being replaced") == (
        0,
        f"opened tenant {tenant}\n",
    )
    answer = await claim(link, tenant)
    assert isinstance(answer, CircuitOpen)
    assert (answer.circuit.reason, 60 <= answer.left_s <= 70) == ("token is being replaced", True)
    assert await link.redis.pttl(f"{KEY_PREFIX}{{{tenant}}}") == -1
    replica = Replica(link)
    await replica.circuits.token_stored(TenantId(tenant), "another")
    await replica.circuits.tell(TenantId(tenant), "a", {"tenant": "fail"}, Failure("a", "AUTH_ERROR"))
    (listed,) = await shell.listed(tenant)
    assert (listed["state"], listed["byHand"], listed["nextProbe"]) == ("open", True, None)
    assert await shell("close", "tenant", tenant) == (0, f"closed tenant {tenant}\n")
    assert await shell.listed(tenant) == []
    assert await claim(link, tenant) == Granted(None)
    assert await shell("close", "tenant", tenant) == (0, f"tenant {tenant} was not open\n")


async def test_a_phone_number_is_named_with_its_tenant(link: RedisLink, shell: Shell) -> None:
    tenant = unique("numbers/odd")
    assert (await shell("open", "number", "100", "--reason", "x"))[0] == 2
    assert (await shell("open", "number", f"{tenant}/100", "--reason", "spam"))[0] == 0
    assert isinstance(await claim(link, tenant, "100"), CircuitOpen)
    assert await claim(link, tenant, "200") == Granted(None)
    (listed,) = await shell.listed(f"{tenant}/100")
    assert (listed["scope"], listed["reason"]) == ("number", "spam")
    assert (await shell("close", "number", f"{tenant}/100"))[0] == 0


async def test_what_replicas_have_opened_is_listed_and_can_be_closed(link: RedisLink, shell: Shell) -> None:
    tenant, replica = TenantId(unique("listed")), Replica(link, failures=1)
    await replica.circuits.tell(tenant, "a", {"tenant": "fail"}, Failure("a", "PAYMENT_ISSUE"))
    await replica.platform.look()
    assert replica.platform.open_circuits[Scope.TENANT] >= 1
    (listed,) = await shell.listed(tenant)
    assert (listed["reason"], listed["failures"], listed["byHand"]) == ("PAYMENT_ISSUE", 1, False)
    assert f"tenant {tenant}: open, PAYMENT_ISSUE" in (await shell("list"))[1]
    assert (await shell("close", "tenant", tenant))[0] == 0
    assert await claim(link, tenant) == Granted(None)


async def test_a_circuit_that_has_been_forgotten_is_taken_off_the_list(link: RedisLink, shell: Shell) -> None:
    tenant, replica = TenantId(unique("forgotten")), Replica(link, failures=1)
    await replica.circuits.tell(tenant, "a", {"tenant": "fail"}, Failure("a", "PAYMENT_ISSUE"))
    await link.redis.delete(f"{KEY_PREFIX}{{{tenant}}}")
    assert await shell.listed(tenant) == []
    await replica.platform.look()
    before = replica.platform.open_circuits[Scope.TENANT]
    assert await shell.listed(tenant) == []
    await replica.platform.look()
    assert replica.platform.open_circuits[Scope.TENANT] == before


async def test_the_platforms_circuit_can_be_opened_and_closed(link: RedisLink, shell: Shell) -> None:
    await link.redis.delete(PLATFORM_KEY)
    replica = Replica(link)
    try:
        assert (await shell("open", "platform", "meta", "--reason", "announced maintenance"))[0] == 0
        await replica.platform.look()
        assert replica.platform.open
        assert len(await shell.listed("meta")) == 1
    finally:
        assert (await shell("close", "platform", "meta"))[0] == 0
    await replica.platform.look()
    assert not replica.platform.open
