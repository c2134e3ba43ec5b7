"""What `make tour` and `make demo` play, on the run's servers: letters, their causes, and the commands for them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.demo import DELIVERED, read_cases, run_demo
from sandbox.operator import typed
from sandbox.recoveries import RECOVERIES
from sandbox.tour import Check, report, run_tour
from sandbox.unused import check_unused
from sandbox.world import RunningRabbitMQ, World, WorldError
from stream.contract.queues import INTAKE_QUEUE
from tests.scene import Scene, number

WITHIN_S = 60.0  # a quiet machine takes ten


@pytest.fixture
def own(stage: Scene, tmp_path: Path) -> World:
    """The stage's vhost, as a world of its own."""
    rabbitmq = RunningRabbitMQ(stage.url, stage.world.rabbitmq.management_url)
    return replace(stage.world, rabbitmq=rabbitmq, base_dir=tmp_path)


async def test_the_tour_ends_with_each_message_accepted_once_and_an_empty_queue(
    own: World, capsys: pytest.CaptureFixture[str]
) -> None:
    async with asyncio.timeout(WITHIN_S):
        assert await run_tour(own)
    printed = capsys.readouterr().out
    assert [recovery for recovery in RECOVERIES if typed(recovery.replay) not in printed] == []
    assert "1 left: already sent" in printed
    assert "no dead letters" in printed


async def test_a_message_of_somebody_else_is_refused_before_anything_takes_it(own: World, stage: Scene) -> None:
    await stage.declare()
    await check_unused(own.rabbitmq.url)  # as an earlier demo leaves it
    await stage.publish(number())
    for play in (run_tour(own), run_demo(own, [])):
        with pytest.raises(WorldError, match=f"{INTAKE_QUEUE} has 1 messages"):
            await play
    assert await stage.outside.count(INTAKE_QUEUE) == 1


async def test_a_consumer_of_somebody_else_is_refused(own: World, stage: Scene) -> None:
    await stage.declare()
    await stage.watch()
    with pytest.raises(WorldError, match="outbound-failed has 0 messages and 1 consumers"):
        await run_tour(own)


def test_the_tour_fails_if_one_count_differs() -> None:
    assert report([Check("letters left", 0, 0)], seconds=1.0)
    assert not report([Check("letters left", 0, 0), Check("accepted twice", 0, 1)], seconds=1.0)


@pytest.mark.any_servers
async def test_the_demo_ends_with_the_causes_and_the_commands_that_bring_their_letters_back(
    own: World, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ("AUTH_ERROR", "TEMPLATE_NOT_FOUND", "INVALID_RESPONSE")
    cases = [case for case in read_cases() if case.expect in {DELIVERED, *shown}]
    async with asyncio.timeout(WITHIN_S):
        assert await run_demo(own, cases)
    printed = capsys.readouterr().out
    places = [printed.index(f"x {name}") for name in shown]
    places += [printed.index(typed(recovery.replay)) for recovery in RECOVERIES]
    table = printed.index("what became of them")
    assert table < places[0] < places[3] < places[1] < places[4] < places[2] < places[5]
