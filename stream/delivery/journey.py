"""A message's journey: read, try, decide, settle.

After any error, too, it ends delivered, waiting, dead-lettered, or back on the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from stream.broker.republish import NotRepublishable
from stream.contract.headers import MOVED_AT
from stream.delivery import report
from stream.delivery.arrival import Delivery
from stream.delivery.decision import LeaveToBroker, Move, RetryPolicy, decide
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Busy, Outcome, transitions_of
from stream.delivery.poison import PoisonGuard
from stream.delivery.processor import MessageProcessor
from stream.delivery.settlement import Settlement
from stream.delivery.unpublished import UnpublishedWaits

log = structlog.get_logger(__name__)


class Journey:
    """Brings deliveries to their end.

    Args:
        processor: Tries to deliver a message to Meta.
        settlement: Carries out the decisions.
        policy: How often and how long to retry.
        guard: Knows the messages that end processes.
        unpublished: Knows the waits that could not be published.
        metrics: Counts what could not be settled.
        tried: Called when a try has ended: a long wait for the broker after that does not mean a stuck worker.
        now: The current time in UTC.
    """

    def __init__(
        self,
        processor: MessageProcessor,
        settlement: Settlement,
        *,
        policy: RetryPolicy,
        guard: PoisonGuard,
        unpublished: UnpublishedWaits,
        metrics: DeliveryMetrics,
        tried: Callable[..., None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._processor = processor
        self._settlement = settlement
        self._policy = policy
        self._guard = guard
        self._unpublished = unpublished
        self._metrics = metrics
        self._tried = tried
        self._now = now

    async def begin(self, delivery: Delivery) -> None:
        """Bring a delivery to its end. One that was delivered before is checked first: it may not be tried now."""
        if not delivery.is_unread:
            await self.bring(delivery)
            return
        async with self._guard.watch(delivery.incoming.body) as verdict:
            await self._read(delivery, verdict)
            await self.bring(delivery)

    async def bring(self, delivery: Delivery) -> None:
        """Try one that is read, decide and settle. It raises nothing that it can name."""
        try:
            outcome = delivery.problem or await self._processor.process(delivery.opened)
            self._tried(postponed=isinstance(outcome, Busy))
            decision = decide(outcome, delivery.history, self._policy, validity=delivery.validity, now=self._now())
            await self._settlement.settle(delivery, decision, transitions_of(outcome))
        except Exception as error:  # noqa: BLE001 - logged and settled there
            await self._end_after(error, delivery)

    async def move(self, delivery: Delivery, lane: str) -> None:
        """Move it to a lane, without a try. One of which no copy can be made is tried here after all."""
        self._tried(postponed=False)
        try:
            await self._settlement.settle(delivery, Move(lane))
        except NotRepublishable:
            await self.begin(delivery)
        except Exception as error:  # noqa: BLE001 - logged and settled there
            await self._end_after(error, delivery)

    async def _end_after(self, error: Exception, delivery: Delivery) -> None:
        """End a delivery whose decision could not be made or carried out."""
        if isinstance(error, AMQPError | ChannelInvalidStateError | OSError):
            # The channel it came on is closed, so it cannot be settled any more: the broker delivers it again.
            log.warning("not_settled", error=f"{type(error).__name__}: {error}", **report.log_fields(delivery.whose))
            self._metrics.not_settled(delivery.whose)
            return
        # Unexpected. Another try would loop for ever, so the broker dead-letters the original.
        log.error("settlement_failed", exc_info=error, **report.log_fields(delivery.whose))
        await self._settlement.settle(delivery, LeaveToBroker("the worker has an error", "INTERNAL_ERROR"))

    async def _read(self, delivery: Delivery, verdict: Outcome | None) -> None:
        """Read one that was delivered before, unless it is poison, or its backoff has not ended."""
        delivery.problem = verdict
        # A copy that has waited has its history in its headers. Only an original that is delivered again, or its copy
        # in a lane, can have a kept wait.
        original = delivery.incoming.redelivered or MOVED_AT in delivery.incoming.headers
        if original and (wait := await self._unpublished.take(delivery.incoming, self._now())):
            delivery.history, delivery.owner = wait.history, wait.whose
            if not verdict and (left_s := (wait.due - self._now()).total_seconds()) > 0:
                delivery.problem = Busy(left_s, "backoff")
        if delivery.problem is None:
            delivery.open()
