"""What the Tenant Service refuses is not asked for again at once."""

from __future__ import annotations

import pytest

from stream.tenants.credentials import (
    CredentialError,
    Credentials,
    CredentialsInvalid,
    CredentialsSuspended,
    TenantNotFound,
    TenantServiceUnavailable,
)
from tests.unit.test_credential_provider import ACME, OTHER, World

pytestmark = pytest.mark.usefixtures("lines")
REFUSALS = [TenantNotFound("unknown"), CredentialsSuspended("suspended: twice"), CredentialsInvalid("no token")]


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
async def test_a_refusal_answers_every_message_of_every_replica_until_its_time_ends(error: CredentialError) -> None:
    world = World()
    replicas = [world.replica(refusal_ttl_ms=5_000) for _ in range(2)]
    world.client.broken["acme"] = error
    for replica in replicas * 3:
        with pytest.raises(type(error), match=str(error)):
            await replica.get(ACME)
    assert world.client.asked == ["acme"]
    assert (await replicas[0].get(OTHER)).tenant_id == OTHER
    world.clock.now += 5
    world.client.broken.clear()
    assert (await replicas[1].get(ACME)).access_token == "token-3"


async def test_a_service_that_is_away_refuses_nothing() -> None:
    world = World()
    replica = world.replica(refusal_ttl_ms=5_000)
    world.client.broken["acme"] = TenantServiceUnavailable("away")
    with pytest.raises(TenantServiceUnavailable):
        await replica.get(ACME)
    world.client.broken.clear()
    world.clock.now += 2  # the pause after a fetch that failed
    assert (await replica.get(ACME)).access_token == "token-2"


async def test_without_a_time_no_refusal_is_remembered() -> None:
    world = World()
    replica = world.replica(refusal_ttl_ms=0)
    world.client.broken["acme"] = TenantNotFound("unknown")
    for _ in range(2):
        with pytest.raises(TenantNotFound):
            await replica.get(ACME)
    assert world.client.asked == ["acme"] * 2


async def test_a_token_that_came_again_after_meta_refused_it_is_not_fetched_a_third_time() -> None:
    world = World()
    replicas = [world.replica(refusal_ttl_ms=5_000) for _ in range(2)]

    async def always_the_same(tenant_id: object, _attempts: int) -> Credentials:
        world.client.asked.append(str(tenant_id))
        return Credentials(ACME, "revoked", cached_at=world.clock.now, ttl_ms=900_000)

    world.client.fetch = always_the_same  # type: ignore[method-assign,assignment]
    for replica in replicas * 3:
        token = (await replica.get(ACME)).access_token
        await replica.forget(ACME, token)
    assert world.client.asked == ["acme"] * 2
    assert "revoked" not in str([entry for key, entry in world.redis.entries.items() if "refused" in key])
    world.clock.now += 5
    await replicas[0].forget(ACME, "revoked")
    await replicas[0].get(ACME)
    assert world.client.asked == ["acme"] * 3


async def test_who_wants_to_know_is_told_of_each_token_that_was_fetched() -> None:
    world = World()
    for _ in range(2):
        await world.replica().get(ACME)
    assert world.stored == [(ACME, "token-1")]
