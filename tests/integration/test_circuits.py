"""Circuits on a real Redis: the Lua does what the specification in Python says, and replicas share the state."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from stream.contract.events import Scope
from stream.contract.identifiers import TenantId
from stream.delivery.alert_interval import KEY_PREFIX as ALERTS_PREFIX
from stream.delivery.alert_interval import AlertInterval
from stream.redis.link import RedisLink
from stream.redis.scripts import Script
from stream.traffic import circuit as specification
from stream.traffic.by_hand import CircuitsByHand, Place
from stream.traffic.circuit import LONGEST_OPEN_MS, Circuit, Failure, Rules, State, Wait
from stream.traffic.circuit_script import FUNCTIONS, KEY_PREFIX, MOST_FIELDS, read_circuit
from stream.traffic.circuits import Circuits, Verb, digest
from stream.traffic.open_circuits import KEYS as OPEN_KEYS
from stream.traffic.open_circuits import OpenCircuits
from stream.traffic.platform import KEY as PLATFORM_KEY
from stream.traffic.platform import PlatformCircuit
from stream.traffic.transitions import Transition, Transitions
from tests.scene import unique

OWNERS = some.sampled_from(["", "a", "b", "c"])
TOKENS = some.sampled_from(["", "t1", "t2"])
TIMES = some.integers(0, 2_000_000) | some.integers(0, 4_000_000_000_000)
CIRCUITS = some.builds(
    Circuit,
    state=some.sampled_from(State),
    failures=some.integers(0, 10),
    since=TIMES,
    ends=TIMES,
    open_ms=some.integers(0, LONGEST_OPEN_MS),
    reason=some.sampled_from(["", "AUTH_ERROR"]),
    by_hand=some.booleans(),
    token=TOKENS,
    owner=OWNERS,
    probes=some.integers(0, 3),
)
CALLS = Script(f"""{FUNCTIONS}
local circuit, owner, now = cjson.decode(ARGV[2]), ARGV[3], tonumber(ARGV[4])
if ARGV[1] == 'ask' then
    local least, spread = ask(circuit, owner, now, 15000)
    if least then return {{least, spread}} end
elseif ARGV[1] == 'fail' then
    fail(circuit, {{owner = owner, reason = 'PAYMENT_ISSUE', token = ARGV[5]}}, now, {{failures = 3, open_ms = 60000}})
elseif ARGV[1] == 'succeed' then
    circuit = succeed(circuit, owner)
elseif ARGV[1] == 'give_back' then
    give_back(circuit, owner, now)
else
    circuit = replaced(circuit, ARGV[5])
end
return cjson.encode(circuit)
""")
SPECIFIED: dict[str, Callable[..., Circuit | Wait]] = {
    "ask": lambda circuit, owner, now, _: specification.ask(circuit, owner, now, 15_000),
    "fail": lambda circuit, owner, now, token: specification.fail(
        circuit, Failure(owner, "PAYMENT_ISSUE", token), now, Rules(3, 60_000, 15_000)
    ),
    "succeed": lambda circuit, owner, _, __: specification.succeed(circuit, owner),
    "give_back": lambda circuit, owner, now, _: specification.give_back(circuit, owner, now),
    "replaced": lambda circuit, _, __, token: specification.replaced(circuit, token),
}


@pytest.mark.parametrize("call", SPECIFIED)
async def test_what_redis_does_to_a_circuit_is_what_the_specification_says(link: RedisLink, call: str) -> None:
    loop = asyncio.get_running_loop()

    async def run(*args: str | bytes | int) -> Any:
        return await link.run(CALLS, (), args)

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(CIRCUITS, OWNERS, TIMES, TOKENS)
    def check(circuit: Circuit, owner: str, now: int, token: str) -> None:
        asked = asyncio.run_coroutine_threadsafe(
            run(call, msgspec.json.encode(circuit), owner, now, token), loop
        ).result(10)
        answer = Wait(*asked) if isinstance(asked, list) else read_circuit(asked)
        assert answer == SPECIFIED[call](circuit, owner, now, token)

    await asyncio.to_thread(check)


class Replica:
    """One replica's circuits."""

    def __init__(
        self,
        link: RedisLink,
        *,
        failures: int = 3,
        open_ms: int = 60_000,
        lease_ms: int = 15_000,
        lasting_ms: int = 0,
    ) -> None:
        self.counted: list[tuple[str, str]] = []
        self.transitions = Transitions(lambda scope, to: self.counted.append((scope, to)))
        rules = Rules(failures, open_ms, lease_ms)
        self.circuits = Circuits(link, rules, self.transitions, OpenCircuits(link))
        self.platform = PlatformCircuit(link, rules, self.transitions, lasting_ms=lasting_ms)


def states(transitions: tuple[Transition, ...]) -> list[State]:
    return [each.to for each in transitions]


async def test_failures_of_all_replicas_count_in_one_row_and_one_of_them_tells_of_the_transition(
    link: RedisLink,
) -> None:
    tenant = TenantId(unique("row"))
    one, other = Replica(link), Replica(link)
    for replica, owner in ((one, "a"), (other, "b"), (one, "c"), (other, "d")):
        await replica.circuits.tell(tenant, owner, {"tenant": "fail"}, Failure(owner, "AUTH_ERROR", "t1"))
    assert (one.counted, other.counted) == ([("tenant", "open")], [])
    (transition,) = one.transitions.take(tenant)
    assert (transition.scope, transition.id, transition.to) == (Scope.TENANT, tenant, State.OPEN)
    assert (transition.circuit.reason, transition.circuit.failures) == ("AUTH_ERROR", 3)
    assert one.transitions.take(tenant) == ()


async def test_a_success_between_failures_begins_the_row_anew(link: RedisLink) -> None:
    tenant, replica = TenantId(unique("anew")), Replica(link)
    for verb in ("fail", "fail", "succeed", "fail", "fail"):
        owner = unique("try")
        told = await replica.circuits.tell(tenant, owner, {"tenant": verb}, Failure(owner, "PAYMENT_ISSUE"))
    assert (told.circuits["tenant"].failures, replica.counted) == (2, [])


async def test_what_is_closed_again_leaves_nothing_in_redis(link: RedisLink) -> None:
    tenant, replica = TenantId(unique("nothing")), Replica(link)
    key = f"{KEY_PREFIX}{{{tenant}}}"
    await replica.circuits.tell(tenant, "a", {"tenant": "fail", "number:1": "fail"}, Failure("a", "X"))
    assert await link.redis.hlen(key) == 2
    assert 0 < await link.redis.pttl(key) <= 86_400_000
    await replica.circuits.tell(tenant, "b", {"tenant": "succeed", "number:1": "succeed"})
    assert not await link.redis.exists(key)


async def test_another_token_closes_a_circuit_that_a_refused_token_opened_and_the_same_does_not(
    link: RedisLink,
) -> None:
    tenant, replica = TenantId(unique("token")), Replica(link, failures=1)
    failure = Failure("a", "AUTH_ERROR", digest("old"))
    told = await replica.circuits.tell(tenant, "a", {"tenant": "fail"}, failure)
    assert told.wait("tenant") == Wait(60_000, 10_000)
    await replica.circuits.token_stored(tenant, "old")
    assert states(replica.transitions.take(tenant)) == [State.OPEN]
    await replica.circuits.token_stored(tenant, "new")
    assert states(replica.transitions.take(tenant)) == [State.CLOSED]
    kept = await link.redis.hgetall(f"{KEY_PREFIX}{{{tenant}}}")
    assert kept == {}


async def test_a_tenant_that_writes_any_number_has_no_more_than_a_thousand_circuits(link: RedisLink) -> None:
    tenant, replica = TenantId(unique("numbers")), Replica(link, failures=1)
    key = f"{KEY_PREFIX}{{{tenant}}}"
    failing: dict[str, Verb] = {f"number:{number}": "fail" for number in range(MOST_FIELDS + 50)}
    told = await replica.circuits.tell(tenant, "a", failing, Failure("a", "PHONE_NUMBER_NOT_FOUND"))
    assert await link.redis.hlen(key) == MOST_FIELDS
    assert list(told.circuits.values()).count(Circuit()) == 50
    assert states(replica.transitions.take(tenant)) == [State.OPEN] * MOST_FIELDS
    told = await replica.circuits.tell(tenant, "b", {"tenant": "fail", "number:0": "fail"}, Failure("b", "AUTH_ERROR"))
    assert {field: each.failures for field, each in told.circuits.items()} == {"tenant": 1, "number:0": 2}


async def test_a_circuit_that_was_open_before_circuits_were_turned_off_still_closes_and_none_opens(
    link: RedisLink,
) -> None:
    tenant, off = TenantId(unique("off")), Replica(link, failures=0)
    key = f"{KEY_PREFIX}{{{tenant}}}"
    await off.circuits.tell(tenant, "a", {"tenant": "fail"}, Failure("a", "AUTH_ERROR"), at_once=True)
    assert not await link.redis.exists(key)
    probed = Circuit(State.HALF_OPEN, failures=5, since=1, open_ms=60_000, owner="probe")
    await link.redis.hset(key, "tenant", msgspec.json.encode(probed))
    await off.circuits.tell(tenant, "probe", {"tenant": "succeed"})
    assert not await link.redis.exists(key)


async def test_a_circuit_that_a_person_opened_stays_listed(link: RedisLink) -> None:
    by_hand, place = CircuitsByHand(link), Place(Scope.TENANT, TenantId(unique("listed")))
    await by_hand.open(place, "maintenance")
    assert await link.redis.zscore(OPEN_KEYS[Scope.TENANT], place.name) == math.inf
    await by_hand.close(place)
    assert await link.redis.zscore(OPEN_KEYS[Scope.TENANT], place.name) is None


def test_news_of_a_circuit_that_nobody_took_are_the_last_of_each_state() -> None:
    transitions = Transitions(lambda *_: None)
    tenant = TenantId("acme")
    for to in (State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.CLOSED):
        transitions.note(Transition(Scope.TENANT, tenant, tenant, to, Circuit()))
    assert states(transitions.take(tenant)) == [State.OPEN, State.HALF_OPEN, State.CLOSED]


@pytest.fixture
async def meta(link: RedisLink) -> None:
    """No replica has told of the platform yet."""
    await link.redis.delete(PLATFORM_KEY)


@pytest.mark.usefixtures("meta")
async def test_failures_of_two_tenants_in_a_row_open_the_platforms_circuit_once(link: RedisLink) -> None:
    one, other = Replica(link), Replica(link)
    for replica, tenant in ((one, "x"), (one, "x"), (one, "x"), (other, "y")):
        owner = unique("try")
        alone = await replica.platform.fail(TenantId(tenant), Failure(owner, "META_SERVER_ERROR"))
        assert alone == (tenant == "x")
    assert not other.platform.open  # three of one tenant alone count as one
    await one.platform.fail(TenantId("x"), Failure(unique("try"), "META_SERVER_ERROR"))
    assert one.platform.open
    assert not await other.platform.fail(TenantId("y"), Failure(unique("try"), "META_SERVER_ERROR"))
    assert (one.counted, other.counted) == ([("platform", "open")], [])
    assert isinstance(await other.platform.ask(TenantId("y"), "z"), Wait)


@pytest.mark.usefixtures("meta")
async def test_failures_of_a_moment_do_not_open_the_platforms_circuit(link: RedisLink) -> None:
    replica = Replica(link, lasting_ms=200)
    for tenant in ("x", "y", "x", "y", "x"):
        await replica.platform.fail(TenantId(tenant), Failure(unique("try"), "META_SERVER_ERROR"))
    assert not replica.platform.open
    assert 0 < await link.redis.pttl(PLATFORM_KEY) <= 86_400_000
    await asyncio.sleep(0.25)
    await replica.platform.fail(TenantId("y"), Failure(unique("try"), "META_SERVER_ERROR"))
    assert replica.platform.open


@pytest.mark.usefixtures("meta")
async def test_a_success_between_the_failures_of_two_tenants_says_that_the_platform_works(link: RedisLink) -> None:
    replica = Replica(link)
    for tenant in ("x", "y"):
        await replica.platform.fail(TenantId(tenant), Failure(unique("try"), "NETWORK_ERROR"))
    assert replica.platform.suspected
    await replica.platform.end(TenantId("x"), "a", answered=True)
    assert not replica.platform.suspected
    assert await replica.platform.fail(TenantId("y"), Failure(unique("try"), "NETWORK_ERROR"))  # alone again
    assert replica.counted == []


@pytest.mark.usefixtures("meta")
async def test_one_probe_over_all_replicas_and_another_when_its_replica_has_died(link: RedisLink) -> None:
    replicas = [Replica(link, failures=2, open_ms=1_000, lease_ms=300) for _ in range(3)]
    for tenant in ("x", "y", "x"):
        await replicas[0].platform.fail(TenantId(tenant), Failure(unique("try"), "NETWORK_ERROR"))
    for replica in replicas[1:]:
        await replica.platform.look()
    assert [replica.platform.open for replica in replicas] == [True] * 3

    async def probes() -> list[int]:
        asked = (replica.platform.ask(TenantId("x"), unique("try")) for replica in replicas for _ in range(3))
        answers = await asyncio.gather(*asked)
        return [place for place, answer in enumerate(answers) if answer is None]

    assert await probes() == []
    await asyncio.sleep(1.05)
    assert len(await probes()) == 1
    await asyncio.sleep(0.35)
    assert len(await probes()) == 1


@pytest.mark.usefixtures("meta")
async def test_the_probe_of_the_platform_closes_it_for_every_replica(link: RedisLink) -> None:
    one, other = (Replica(link, failures=2, open_ms=1_000) for _ in range(2))
    for tenant in ("x", "y", "x"):
        await one.platform.fail(TenantId(tenant), Failure(unique("try"), "NETWORK_ERROR"))
    await asyncio.sleep(1.05)
    assert await one.platform.ask(TenantId("x"), "probe") is None
    await one.platform.end(TenantId("x"), "another", answered=True)
    assert one.platform.open
    await one.platform.end(TenantId("x"), "probe", answered=True)
    await other.platform.look()
    assert (one.platform.open, other.platform.open) == (False, False)
    assert one.counted == [("platform", "open"), ("platform", "half_open"), ("platform", "closed")]


async def test_an_alert_is_due_once_in_its_interval_over_all_replicas_with_the_count_since(link: RedisLink) -> None:
    tenant = TenantId(unique("alerts"))
    replicas = [AlertInterval(link, interval_ms=300) for _ in range(2)]
    assert [await replica.count(tenant, "AUTH_ERROR") for replica in replicas * 3] == [1, 0, 0, 0, 0, 0]
    assert await replicas[1].count(tenant, "PAYMENT_ISSUE") == 1
    assert await replicas[1].count(TenantId(unique("alerts")), "AUTH_ERROR") == 1
    await asyncio.sleep(0.31)
    assert [await replica.count(tenant, "AUTH_ERROR") for replica in replicas] == [6, 0]
    before_a_step_back = int(1000 * (time.time() + 3600))
    await link.redis.hset(f"{ALERTS_PREFIX}{{{tenant}}}:AUTH_ERROR", "ends", before_a_step_back)
    assert [await replica.count(tenant, "AUTH_ERROR") for replica in replicas] == [2, 0]
    assert [await AlertInterval(link, interval_ms=0).count(tenant, "AUTH_ERROR") for _ in range(2)] == [1, 1]
