from __future__ import annotations

import asyncio

import pytest

from stream.retry import RetryHandler


class Transient(Exception):  # noqa: N818 - a state, not a fault
    pass


class Script:
    """A call that raises what it was given, then answers; it notes how it was called and what was slept."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.slept: list[float] = []
        self.told: list[tuple[BaseException, int]] = []

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def on_retry(self, error: BaseException, attempt: int) -> None:
        self.told.append((error, attempt))


async def run(script: Script, *, max_retries: int = 3, base_delay_s: float = 1) -> str:
    handler = RetryHandler(draw=lambda: 0.0, sleep=script.sleep)
    return await handler.execute_with_retry(
        script,
        max_retries=max_retries,
        base_delay_s=base_delay_s,
        classifier=lambda error: isinstance(error, Transient),
        on_retry=script.on_retry,
    )


async def test_a_call_that_succeeds_is_made_once_and_sleeps_never() -> None:
    script = Script()
    assert await run(script) == "answer"
    assert (script.calls, script.slept, script.told) == (1, [], [])


async def test_it_calls_again_until_it_succeeds() -> None:
    script = Script(Transient(), Transient())
    assert await run(script) == "answer"
    assert script.calls == 3


async def test_it_sleeps_the_backoff_between_calls() -> None:
    script = Script(*(Transient() for _ in range(6)))
    await run(script, max_retries=6)
    assert script.slept == [1, 2, 4, 8, 16, 60]


async def test_a_base_of_zero_retries_at_once() -> None:
    script = Script(Transient())
    await run(script, base_delay_s=0)
    assert (script.calls, sum(script.slept)) == (2, 0)


@pytest.mark.parametrize("max_retries", [0, 1, 3])
async def test_it_gives_up_after_the_retries_with_the_last_error(max_retries: int) -> None:
    errors = [Transient(number) for number in range(10)]
    script = Script(*errors)
    with pytest.raises(Transient) as caught:
        await run(script, max_retries=max_retries)
    assert caught.value is errors[max_retries]
    assert script.calls == max_retries + 1
    assert len(script.slept) == max_retries


async def test_an_error_that_the_classifier_rejects_stops_it_at_once() -> None:
    script = Script(Transient(), ValueError("final"), Transient())
    with pytest.raises(ValueError, match="final"):
        await run(script)
    assert (script.calls, script.slept) == (2, [1])


async def test_on_retry_hears_the_error_and_the_number_of_the_failed_attempt() -> None:
    first, second = Transient("first"), Transient("second")
    script = Script(first, second)
    await run(script)
    assert script.told == [(first, 1), (second, 2)]


async def test_on_retry_is_not_told_of_the_last_failure() -> None:
    script = Script(Transient(), Transient())
    with pytest.raises(Transient):
        await run(script, max_retries=1)
    assert len(script.told) == 1


async def test_on_retry_comes_before_the_sleep() -> None:
    order: list[str] = []
    script = Script(Transient())

    async def sleep(_seconds: float) -> None:
        order.append("sleep")

    async def on_retry(_error: BaseException, _attempt: int) -> None:
        order.append("told")

    await RetryHandler(sleep=sleep).execute_with_retry(
        script, max_retries=1, base_delay_s=1, classifier=lambda _error: True, on_retry=on_retry
    )
    assert order == ["told", "sleep"]


async def test_a_lambda_is_awaited_like_a_coroutine_function() -> None:
    script = Script(Transient())

    async def greet(name: str) -> str:
        return f"{await script()} to {name}"

    answer = await RetryHandler(sleep=script.sleep).execute_with_retry(
        lambda: greet("acme"), max_retries=1, base_delay_s=1, classifier=lambda _error: True, on_retry=script.on_retry
    )
    assert (answer, script.calls) == ("answer to acme", 2)


async def test_a_cancellation_is_never_retried() -> None:
    script = Script(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await run(script)
    assert script.calls == 1


async def test_a_handler_serves_many_calls_at_once() -> None:
    handler = RetryHandler(draw=lambda: 0.0, sleep=Script().sleep)
    scripts = [Script(*(Transient() for _ in range(number))) for number in range(3)]
    await asyncio.gather(
        *(
            handler.execute_with_retry(
                script, max_retries=3, base_delay_s=1, classifier=lambda _error: True, on_retry=script.on_retry
            )
            for script in scripts
        )
    )
    assert [script.calls for script in scripts] == [1, 2, 3]
