"""Backoff arithmetic, and the loop for the few retries that happen inside a handler.

Everything longer than a moment waits on the broker (`stream.contract.delays`); `calculate_backoff` serves both.
It stands outside the rooms because `tenants` and `delivery` both use it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

T = TypeVar("T")

DOUBLINGS: Final = 5  # 1, 2, 4, 8, 16 s, then the cap: a service that is down does not get many requests
DEFAULT_BASE_S: Final = 1.0
DEFAULT_CAP_S: Final = 60.0
JITTER_S: Final = 1.0  # so that messages that failed together are not retried together


class RetryHandler:
    """Computes backoff delays, and runs a call again while its error says so.

    Args:
        base_delay_s: First delay, in seconds.
        cap_s: Longest delay before jitter, in seconds.
        jitter_s: Largest random addition to each delay, in seconds.
        draw: Source of randomness in [0, 1).
        sleep: How the in-handler loop waits.
    """

    def __init__(
        self,
        *,
        base_delay_s: float = DEFAULT_BASE_S,
        cap_s: float = DEFAULT_CAP_S,
        jitter_s: float = JITTER_S,
        draw: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._base_delay_s = base_delay_s
        self._cap_s = cap_s
        self._jitter_s = jitter_s
        self._draw = draw
        self._sleep = sleep

    def calculate_backoff(
        self, attempt: int, *, base_delay_s: float | None = None, growth: float = 2.0, cap_s: float | None = None
    ) -> float:
        """Delay in seconds before the retry that follows failed attempt number `attempt` (1 is the first).

        1, 2, 4, 8, 16 times the base, then the cap from the sixth attempt; never above the cap; plus jitter.
        A base of 0 means "at once" and gets no jitter.
        """
        base = self._base_delay_s if base_delay_s is None else base_delay_s
        cap = self._cap_s if cap_s is None else cap_s
        if base == 0:
            return 0.0
        grown = base * growth ** (max(attempt, 1) - 1) if attempt <= DOUBLINGS else cap
        return min(grown, cap) + self._draw() * self._jitter_s

    async def execute_with_retry(
        self,
        fn: Callable[[], Awaitable[T]],
        *,
        max_retries: int,
        base_delay_s: float,
        classifier: Callable[[BaseException], bool],
        on_retry: Callable[[BaseException, int], Awaitable[None]],
    ) -> T:
        """Call `fn`, and again up to `max_retries` times while `classifier` says its error is worth it.

        Args:
            fn: The call.
            max_retries: Further calls after the first.
            base_delay_s: First delay in seconds; 0 retries at once.
            classifier: Whether an exception is retryable.
            on_retry: Called with the exception and the number of the failed attempt, before the wait.

        Raises:
            BaseException: What the last call raised.
        """

        async def call() -> T:  # tenacity awaits coroutine functions only, and `fn` may be a lambda
            return await fn()

        async def before_sleep(state: RetryCallState) -> None:
            if state.outcome is not None and (error := state.outcome.exception()) is not None:
                await on_retry(error, state.attempt_number)

        loop = AsyncRetrying(
            stop=stop_after_attempt(max_retries + 1),
            wait=lambda state: self.calculate_backoff(state.attempt_number, base_delay_s=base_delay_s),
            retry=retry_if_exception(classifier),
            before_sleep=before_sleep,
            sleep=self._sleep,
            reraise=True,
        )
        return await loop(call)
