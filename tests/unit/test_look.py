"""A look whose visitor fails: the error reaches the command, and every letter is given back."""

from __future__ import annotations

from typing import cast

import pytest
from aiormq.abc import AbstractConnection, DeliveredMessage

from stream.broker import look as mechanics
from stream.broker.look import look_at
from tests.unit.dead_letter_queue import Broker, delivered


async def look_and_fail(broker: Broker, error: Exception, *, catch_up: bool) -> list[int]:
    shown: list[int] = []

    def visit(message: DeliveredMessage) -> None:
        shown.append(message.delivery_tag or 0)
        if len(shown) == 2:
            raise error

    async with look_at(cast("AbstractConnection", broker), "outbound-failed", visit) as look:
        if catch_up:
            await look.catch_up(look.goal)
            pytest.fail("nobody was told")
    return shown


@pytest.mark.parametrize("catch_up", [True, False])
@pytest.mark.parametrize("chunk", [60_000, 2])
@pytest.mark.parametrize("error", [ValueError("no such field"), OSError("no space left")])
async def test_what_a_visitor_raises_ends_the_look_and_every_letter_lies_there_again(
    error: Exception, chunk: int, *, catch_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mechanics, "CHUNK", chunk)
    monkeypatch.setattr(mechanics, "QUIET_S", 0.001)
    broker = Broker([delivered(b"", {}) for _ in range(5)])
    with pytest.raises(type(error), match=str(error)):
        await look_and_fail(broker, error, catch_up=catch_up)
    assert (len(broker.lying), broker.consumers, broker.is_closed) == (5, 0, True)


async def make_room_after_a_late_failure() -> None:
    broker = Broker([])

    def visit(_: DeliveredMessage) -> None:
        raise ValueError("unreadable")

    async with look_at(cast("AbstractConnection", broker), "outbound-failed", visit) as look:
        broker.lying.append(delivered(b"", {}))  # it comes while the look lasts
        await broker.deliver()
        await look.make_room()
        pytest.fail("nobody was told")


async def test_a_job_that_waits_for_outcomes_is_told_too() -> None:
    with pytest.raises(ValueError, match="unreadable"):
        await make_room_after_a_late_failure()
