"""What the end of a probe does to its circuit, from the claim that makes a try the probe to the report of its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from stream.contract.identifiers import TenantId
from stream.delivery.circuit_reports import CircuitReports
from stream.delivery.claim import CircuitOpen, Claim, Granted
from stream.delivery.claims import Claims
from stream.delivery.tries import Try
from stream.meta.failure import Failure
from stream.redis.link import RedisLink
from stream.traffic import circuit
from stream.traffic.circuit import State
from stream.traffic.circuit_script import number_field
from tests.integration.test_circuits import Replica, states
from tests.scene import unique
from tests.unit.doubles import message

OPEN_MS = 200


class Tenant:
    """A tenant whose circuit has just opened, and whose tries claim and end."""

    def __init__(self, link: RedisLink, *, hold: bool = False) -> None:
        self.id = TenantId(unique("probes"))
        self.replica = Replica(link, failures=1, open_ms=OPEN_MS)
        self.claims = Claims(link, replica="here", lease_s=60, ttl_ms=60_000, most_doubts=2)
        self.reports = CircuitReports(
            self.replica.circuits, self.replica.platform, self.replica.transitions, hold=hold, draw=lambda: 0.0
        )

    async def opened(self, reason: str = "PAYMENT_ISSUE") -> None:
        """Open the circuit, and wait until a probe is due."""
        failure = circuit.Failure(unique("try"), reason)
        await self.replica.circuits.tell(self.id, failure.owner, {"tenant": "fail"}, failure)
        await asyncio.sleep(1.5 * OPEN_MS / 1000)

    async def a_try(self) -> tuple[Try, Claim]:
        content = message(tenantId=self.id, internalId=unique("id"))
        current = Try(content, unique("try"), send_again=True)
        current.keys = self.claims.keys(content)
        claim = await self.claims.claim(
            current.keys, current.owner, number_field(content.phone_number_id), send_again=True, need_credentials=False
        )
        if isinstance(claim, Granted):
            await self.reports.claimed(current, claim.seen)
        return current, claim


async def test_a_success_of_the_probe_closes_and_the_news_are_the_probes(link: RedisLink) -> None:
    tenant = Tenant(link)
    await tenant.opened()
    probe, _ = await tenant.a_try()
    assert isinstance((await tenant.a_try())[1], CircuitOpen)
    assert tenant.reports.concerns(probe)
    await tenant.reports.succeeded(probe)
    assert states(tenant.reports.news(probe)) == [State.OPEN, State.HALF_OPEN, State.CLOSED]
    assert (await tenant.a_try())[1] == Granted(None)


@pytest.mark.parametrize(
    ("name", "http_status", "closes"),
    [("RECIPIENT_UNREACHABLE", 400, True), ("INVALID_REQUEST", 400, False), ("MESSAGE_EXPIRED", None, False)],
)
async def test_a_probe_that_fails_for_its_own_sake_closes_or_leaves_the_probe_to_the_next(
    link: RedisLink, name: str, http_status: int | None, *, closes: bool
) -> None:
    tenant = Tenant(link)
    await tenant.opened()
    probe, _ = await tenant.a_try()
    assert await tenant.reports.failed(probe, replace(Failure.of(name, ""), http_status=http_status)) is None
    following, claim = await tenant.a_try()
    assert isinstance(claim, Granted)
    assert bool(following.seen) is not closes


async def test_probes_that_end_without_a_request_leave_the_probe_to_the_next_and_are_told_once(link: RedisLink) -> None:
    tenant, told = Tenant(link), list[State]()
    await tenant.opened()
    for _ in range(3):
        probe, claim = await tenant.a_try()
        assert isinstance(claim, Granted)
        await tenant.reports.ended(probe)
        told += states(tenant.reports.news(probe))
    assert told == [State.OPEN, State.HALF_OPEN]


async def test_a_probe_that_fails_opens_the_circuit_for_twice_as_long_and_says_how_long(link: RedisLink) -> None:
    tenant = Tenant(link)
    await tenant.opened()
    probe, _ = await tenant.a_try()
    wait_s = await tenant.reports.failed(probe, replace(Failure.of("PAYMENT_ISSUE", ""), http_status=400))
    assert wait_s == 2 * OPEN_MS / 1000
    assert isinstance((await tenant.a_try())[1], CircuitOpen)


async def test_where_messages_are_held_one_failure_of_the_number_opens_only_the_numbers_circuit(
    link: RedisLink,
) -> None:
    tenant = Tenant(link, hold=True)
    tenant.replica.circuits._rules = circuit.Rules(failures=5, open_ms=60_000, lease_ms=15_000)
    current, _ = await tenant.a_try()
    await tenant.reports.failed(current, replace(Failure.of("SENDER_RESTRICTED", ""), http_status=400))
    opened = (await tenant.a_try())[1]
    assert isinstance(opened, CircuitOpen)
    assert (opened.field, opened.circuit.reason) == ("number:100000001", "SENDER_RESTRICTED")
