"""A try reaches its end whoever started it, and a stop says what it found."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from stream.delivery import inflight
from stream.delivery.inflight import Drained, InFlight
from tests.unit.doubles import Clock, delivery, turns


class Try:
    """A try that says when it has started, and ends when it is told to."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = False

    async def __call__(self, _: object = None) -> None:
        self.started.set()
        await self.release.wait()
        self.ended = True


async def test_a_try_goes_on_when_its_handler_is_cancelled() -> None:
    in_flight, work = InFlight(), Try()

    async def handler() -> None:
        in_flight.start(work.__call__, delivery())
        await asyncio.Event().wait()

    handling = asyncio.create_task(handler())
    await work.started.wait()
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    assert (len(in_flight), work.ended) == (1, False)
    work.release.set()
    assert await in_flight.drain(5) == Drained(finished=1, returned=0, unknown=0)
    assert (len(in_flight), work.ended) == (0, True)


async def test_a_stop_waits_for_what_runs_and_starts_nothing_more() -> None:
    in_flight, work, late = InFlight(), Try(), Try()
    in_flight.start(work.__call__, delivery())
    await work.started.wait()
    drain = asyncio.create_task(in_flight.drain(5))
    await asyncio.sleep(0)
    assert in_flight.start(late.__call__, delivery()) is None
    assert not drain.done()
    work.release.set()
    assert await drain == Drained(finished=1, returned=1, unknown=0)
    assert not late.started.is_set()


async def test_a_stop_with_nothing_in_flight_ends_at_once() -> None:
    async with asyncio.timeout(1):
        assert await InFlight().drain(60) == Drained(finished=0, returned=0, unknown=0)


async def test_what_runs_is_waited_for_with_what_starts_meanwhile_and_no_longer_than_asked() -> None:
    in_flight, first, second = InFlight(), Try(), Try()
    in_flight.start(first.__call__, delivery())
    await in_flight.settle(0.01)  # it runs on
    settling = asyncio.create_task(in_flight.settle(60))
    await turns()
    in_flight.start(second.__call__, delivery())
    first.release.set()
    await second.started.wait()
    await turns()
    assert (first.ended, settling.done()) == (True, False)
    second.release.set()
    async with asyncio.timeout(1):
        await settling
    assert second.ended


async def test_a_try_that_outlasts_the_stop_is_cut_off_and_named() -> None:
    in_flight, work = InFlight(), Try()

    task = in_flight.start(work.__call__, delivery())
    assert task is not None
    await work.started.wait()
    with capture_logs() as logs:
        assert await in_flight.drain(0) == Drained(finished=0, returned=0, unknown=1)
    (line,) = logs
    assert (line["event"], line["internalId"]) == ("cut_off", "order-4711")
    assert not work.ended
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_that_nobody_foresaw_reaches_the_log() -> None:
    in_flight = InFlight()

    async def broken(_: object) -> None:
        raise ZeroDivisionError("unforeseen")

    with capture_logs() as logs:
        task = in_flight.start(broken, delivery())
        assert task is not None
        await asyncio.wait([task])
        await asyncio.sleep(0)  # the waiter may resume before the task's callback
    (line,) = logs
    assert line["event"] == "unexpected_error"
    assert isinstance(line["exc_info"], ZeroDivisionError)
    assert len(in_flight) == 0


async def test_the_watchdog_names_a_stuck_try_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflight, "WATCH_EVERY_S", 0)  # a look in every round of the event loop
    clock = Clock()
    in_flight, work = InFlight(monotonic=clock), Try()

    task = in_flight.start(work.__call__, delivery())
    assert task is not None
    await work.started.wait()
    watchdog = asyncio.create_task(in_flight.watch(limit_s=30))
    with capture_logs() as logs:
        clock.now += 30  # exactly the limit is not beyond it
        await turns(5)
        assert logs == []
        clock.now += 1.25
        await turns(5)
        (line,) = logs
    assert (line["event"], line["internalId"], line["seconds"]) == ("stuck", "order-4711", 31.2)
    watchdog.cancel()
    work.release.set()
    await task
