"""One tenant's broken record is its own trouble; several that fail while nothing is answered are the service's."""

from __future__ import annotations

import pytest

from stream.contract.identifiers import TenantId
from stream.retry import RetryHandler
from stream.tenants import struggles as module
from stream.tenants.struggles import LONGEST_PAUSE_S, SEVERAL, Struggles
from tests.unit.doubles import Clock

ACME, OTHER = TenantId("acme"), TenantId("other")


class World:
    """Struggles under a clock; a fetch takes a second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.struggles = Struggles(RetryHandler(draw=lambda: 0.0), self.clock)

    def fail(self, *tenants: str) -> None:
        for tenant in tenants:
            since = self.clock.now
            self.clock.now += 1
            self.struggles.failed(TenantId(tenant), since, "HTTP 500")


@pytest.fixture
def world() -> World:
    return World()


def several() -> list[str]:
    return [f"tenant-{number}" for number in range(SEVERAL)]


def test_pauses_grow_to_a_bound_and_an_answer_ends_them(world: World) -> None:
    pauses = []
    for _ in range(8):
        world.fail(ACME)
        began = world.clock.now
        while world.struggles.pause(ACME):
            world.clock.now += 0.5
        pauses.append(world.clock.now - began)
    assert pauses == [1, 2, 4, 8, 10, 10, 10, 10]
    assert pauses[-1] == LONGEST_PAUSE_S
    world.fail(ACME)
    world.struggles.answered(ACME)
    assert (world.struggles.pause(ACME), ACME in world.struggles) == (None, False)


def test_a_pause_is_one_tenants_own(world: World) -> None:
    world.fail(ACME)
    assert world.struggles.pause(ACME) == "HTTP 500"
    assert (world.struggles.pause(OTHER), OTHER in world.struggles) == (None, False)


def test_a_fetch_that_is_slow_makes_a_tenant_struggle_without_a_pause(world: World) -> None:
    world.struggles.slow(ACME, world.clock.now)
    assert (ACME in world.struggles, world.struggles.pause(ACME)) == (True, None)


def test_one_tenant_that_fails_for_ever_is_not_the_service(world: World) -> None:
    world.fail(*[ACME, OTHER] * 50)
    assert not world.struggles.everywhere


def test_several_tenants_that_fail_are_the_service_until_anybody_is_answered(world: World) -> None:
    world.fail(*several())
    assert world.struggles.everywhere
    world.fail(ACME)
    assert world.struggles.everywhere
    world.struggles.answered(OTHER)
    assert not world.struggles.everywhere
    assert all(TenantId(tenant) in world.struggles for tenant in several())
    assert not any(world.struggles.pause(TenantId(tenant)) for tenant in several())  # the service was to blame


def test_several_that_fail_while_others_are_answered_are_not_the_service(world: World) -> None:
    for tenant in several():
        world.fail(tenant)
        world.struggles.answered(ACME)
    assert not world.struggles.everywhere
    began = world.clock.now
    world.clock.now += 1
    world.struggles.answered(ACME)
    for tenant in several():  # their fetches began before somebody else's was answered
        world.struggles.slow(TenantId(tenant), began)
    assert not world.struggles.everywhere


def test_what_is_remembered_is_bounded_and_the_oldest_is_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    world.fail("a", "b", "c", "a", "d")
    assert [tenant for tenant in "abcd" if TenantId(tenant) in world.struggles] == ["a", "c", "d"]
