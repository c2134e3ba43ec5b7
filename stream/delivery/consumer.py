"""The consumer: one incoming message through try, decision and settlement, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from stream.broker.wire import UNREADABLE, Unreadable
from stream.contract.headers import REDELIVERED, History
from stream.contract.messages import UNKNOWN_OWNER, InvalidMessage, Message, Whose
from stream.contract.validity import Validity, on_arrival
from stream.delivery import report
from stream.delivery.decision import RetryPolicy, decide
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Busy, Failed, Outcome
from stream.delivery.poison import PoisonGuard
from stream.delivery.settlement import Delivery, Settlement
from stream.delivery.unpublished import UnpublishedWaits
from stream.meta.failure import Failure

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a message.

    Attributes:
        message: Its content, or `None` when it could not be decoded.
        outcome: How it ended.
        unread: Whose it is, as far as bytes that are no message say so.
    """

    message: Message | None
    outcome: Outcome
    unread: Whose = UNKNOWN_OWNER


class MessageConsumer:
    """Takes messages off the queue.

    Args:
        settlement: Carries out the decisions.
        policy: How often and how long to retry, and how old a message may become.
        guard: Knows the messages that end processes.
        unpublished: Knows the waits that could not be published.
        metrics: Counts what could not be settled.
        tried: Told once there is nothing more to try: it is the broker's turn, and no fault of the worker how long that
            takes.
        now: The current time in UTC.
    """

    def __init__(
        self,
        *,
        settlement: Settlement,
        policy: RetryPolicy,
        guard: PoisonGuard,
        unpublished: UnpublishedWaits,
        metrics: DeliveryMetrics,
        tried: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settlement = settlement
        self._policy = policy
        self._guard = guard
        self._unpublished = unpublished
        self._metrics = metrics
        self._tried = tried
        self._now = now

    async def consume(
        self, incoming: AbstractIncomingMessage, attempt: Callable[[Validity], Awaitable[Attempt]]
    ) -> None:
        """Bring one message to its end: delivered, waiting, dead-lettered, or back on the queue.

        Args:
            incoming: The broker's message, not acknowledged yet.
            attempt: Decodes and processes it, once, told what its properties and its age say of its validity.
        """
        if incoming.redelivered or REDELIVERED in incoming.headers:
            await self._guard.watch(incoming.body, lambda verdict: self._consume(incoming, attempt, verdict))
        else:
            await self._consume(incoming, attempt)

    async def _consume(
        self,
        incoming: AbstractIncomingMessage,
        attempt: Callable[[Validity], Awaitable[Attempt]],
        verdict: Outcome | None = None,
    ) -> None:
        """Try a message, unless there is a verdict on it already, and settle it."""
        history = History.read(incoming.headers, self._now())
        message: Message | None = None
        try:
            if isinstance(unreadable := incoming.headers.get(UNREADABLE), Unreadable):
                # Neither its history nor a faithful copy can be had: the broker moves the original.
                self._tried()
                log.error("dead_lettered_by_broker", reason=f"properties cannot be decoded: {unreadable!r}")
                await incoming.reject(requeue=False)
                self._metrics.dead_lettered_by_broker(None)
                return
            instead = Attempt(None, verdict) if verdict else None
            if incoming.redelivered and (wait := await self._unpublished.take(incoming, self._now())):
                history = wait.history
                if not verdict and (left_s := (wait.due - self._now()).total_seconds()) > 0:
                    instead = Attempt(None, Busy(left_s, "backoff"), wait.whose)
            validity = on_arrival(incoming, history.first_seen, self._policy.max_age)
            tried = instead or await self._attempted(lambda: attempt(validity))
            self._tried()
            message = tried.message
            validity = message.validity if message else validity
            decision = decide(tried.outcome, history, self._policy, validity=validity, now=self._now())
            await self._settlement.settle(Delivery(incoming, message, history, tried.unread), decision)
        except (AMQPError, ChannelInvalidStateError, OSError) as error:
            # The channel it came on is gone, and with it the right to settle: the broker delivers it again.
            log.warning("not_settled", error=f"{type(error).__name__}: {error}", **report.identity(message))
            self._metrics.not_settled(message)
        except Exception:
            # Nothing foreseen. Trying again would loop for ever, so the broker dead-letters the original.
            log.exception("settlement_failed", **report.identity(message))
            await incoming.reject(requeue=False)
            self._metrics.dead_lettered_by_broker(message, "INTERNAL_ERROR")

    async def _attempted(self, attempt: Callable[[], Awaitable[Attempt]]) -> Attempt:
        try:
            return await attempt()
        except InvalidMessage as error:
            return Attempt(None, Failed(Failure.of("INVALID_MESSAGE", str(error))), error.whose)
        except Exception as error:
            log.exception("unreadable_message")
            return Attempt(None, Failed(Failure.of("INTERNAL_ERROR", f"{type(error).__name__}: {error}")))
