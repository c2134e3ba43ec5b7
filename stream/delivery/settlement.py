"""Settling: publishing what was decided, then acknowledging. A backlog moved by `broker/sorting.py` does not come here.

Publish first, confirmed and mandatory; acknowledge after. A publish is bounded in time, unless the broker says that it
is short of memory or disk: then it waits. If the publish fails, the message stays on the broker. Events are confirmed
too, but the loss of an event does not hold its message back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, assert_never

import structlog
from aio_pika.abc import AbstractIncomingMessage
from aiormq.exceptions import AMQPError, ChannelInvalidStateError

from stream.broker.express import ExpressLane, open_channel_of
from stream.broker.handover import Handover
from stream.broker.republish import Copy, NotRepublishable, final_copy, waiting_copy
from stream.contract import delays
from stream.contract import headers as names
from stream.contract.headers import History
from stream.contract.lanes import LANE_EXCHANGE
from stream.contract.messages import Whose
from stream.contract.publications import DEAD_LETTER
from stream.contract.queues import due_queue
from stream.delivery import notices, report
from stream.delivery.alert_interval import AlertInterval
from stream.delivery.announcements import Announcements
from stream.delivery.arrival import Delivery
from stream.delivery.confirmed import Confirmed, Unconfirmed
from stream.delivery.decision import Acknowledge, DeadLetter, Decision, LeaveToBroker, Move, Postpone, RetryAfter
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.unpublished import Unpublished, UnpublishedWaits
from stream.observe import tracing
from stream.traffic.transitions import Transition

RETURN_PAUSE_S: Final = 1.0  # a message that is handed back is delivered again at once: not in a hot loop

log = structlog.get_logger(__name__)


def _mark(delivery: Delivery) -> dict[str, Any]:
    """What a copy says if the broker had delivered the original before."""
    return {names.REDELIVERED: True} if delivery.incoming.redelivered else {}


def move_headers(delivery: Delivery, now: datetime) -> dict[str, Any]:
    """What the copy in a lane says besides what the message said."""
    seen = delivery.history.first_seen.isoformat()
    return {names.FIRST_SEEN: seen, **_mark(delivery), names.MOVED_AT: now.isoformat()}


class Settlement:
    """Carries out decisions.

    Args:
        handover: Publishes waiting messages and dead letters.
        express: Publishes events, and acknowledges.
        alerts: Says when an alert is due.
        unpublished: Remembers waits that could not be published.
        intake: `INTAKE_QUEUE`: where messages come back to that came from there.
        mend_topology: Called when a queue or an exchange is not there; the next attempt may find it.
        metrics: Counts what became of each message, once it is settled.
        now: The current time in UTC, for headers and events.
        sleep: How pauses wait.
    """

    def __init__(  # noqa: PLR0913 - what it publishes through, and how it tells the time
        self,
        handover: Handover,
        express: ExpressLane,
        unpublished: UnpublishedWaits,
        alerts: AlertInterval,
        *,
        intake: str,
        mend_topology: Callable[[], None],
        metrics: DeliveryMetrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._handover = handover
        self._express = express
        self._unpublished = unpublished
        self._intake = intake
        self._confirmed = Confirmed(mend_topology, sleep)
        self._announcements = Announcements(express, self._confirmed, alerts, metrics, now)
        self._metrics = metrics
        self._now = now
        self._sleep = sleep

    async def settle(self, delivery: Delivery, decision: Decision, transitions: tuple[Transition, ...] = ()) -> None:
        """Carry out a decision; afterwards the message is in one place. Announce what its try did to circuits.

        After a confirm that did not come it may be in two, the copy and the original; the ledger recognises that.

        Raises:
            ChannelInvalidStateError: The channel that it came on is closed: the broker delivers it again.
            AMQPError: The same, as the connection was lost.
            OSError: The same.
            NotRepublishable: A message that is to be moved cannot be copied. Nothing is settled: it may still be tried.
        """
        try:
            open_channel_of(delivery.incoming)  # raises if it is closed: nothing can be settled there
            carried_out = await self._carry_out(delivery, decision, transitions)
        except Unconfirmed as error:
            log.error("left_on_queue", reason=str(error), **report.log_fields(delivery.whose))
            await self._remember(delivery, decision)
            await self._give_back(delivery.incoming)
            self._metrics.not_settled(delivery.whose)
        except (AMQPError, ChannelInvalidStateError, OSError):
            await self._remember(delivery, decision)
            raise
        else:
            self.report(delivery, carried_out)

    async def _carry_out(self, delivery: Delivery, decision: Decision, transitions: tuple[Transition, ...]) -> Decision:
        """Publish, then take the message off its queue. What cannot be copied is left to the broker after all."""
        try:
            await self._publish(delivery, decision)
            for transition in transitions:
                await self._announcements.circuit(delivery, transition)
        except NotRepublishable as error:
            if isinstance(decision, Move):
                raise
            decision = LeaveToBroker(str(error))
        if isinstance(decision, LeaveToBroker):
            await delivery.incoming.reject(requeue=False)
        else:
            self._express.acknowledge(delivery.incoming)
        return decision

    async def _publish(self, delivery: Delivery, decision: Decision) -> None:
        match decision:
            case Acknowledge(outcome):
                await self._announcements.sent(delivery, outcome)
            case Postpone(delay_s, history, waits_for="pace"):  # its time to be sent is reserved
                await self._wait(delivery, delay_s, history, due_queue(self._intake))
            case Postpone(delay_s, history) | RetryAfter(_, delay_s, history):
                await self._wait(delivery, delay_s, history, delivery.lane or self._intake)
            case Move(lane):
                await self._move(delivery, lane)
            case DeadLetter():
                await self._dead_letter(delivery, decision)
            case LeaveToBroker():
                pass  # the broker publishes it
            case _:  # otherwise a decision that is forgotten here would be acknowledged, and its message lost
                assert_never(decision)

    async def _remember(self, delivery: Delivery, decision: Decision) -> None:
        """Keep a wait that the broker did not take: the original, which it delivers again, knows nothing of it."""
        if isinstance(decision, Postpone | RetryAfter):
            now = self._now()
            due = now + timedelta(seconds=decision.delay_s)
            whose = Whose(delivery.whose.tenant_id, delivery.whose.internal_id)
            await self._unpublished.keep(delivery.incoming, Unpublished(decision.history, due, whose), now)

    async def _give_back(self, incoming: AbstractIncomingMessage) -> None:
        """Hand a message back to the queue, after a pause."""
        await self._sleep(RETURN_PAUSE_S)
        await incoming.nack(requeue=True)

    def report(self, delivery: Delivery, decision: Decision) -> None:
        """Log and count. A failure there must not lead to a second settlement: the message is settled."""
        try:
            report.settled(delivery.whose, delivery.history, decision)
            self._metrics.settled(delivery, decision)
        except Exception:
            log.exception("not_reported", **report.log_fields(delivery.whose))

    async def _wait(self, delivery: Delivery, delay_s: float, history: History, destination: str) -> None:
        level, routing_key = delays.route(delay_s, destination)
        headers = {**history.headers(), **_mark(delivery)}
        if destination == delivery.lane:
            back = self._now() + timedelta(seconds=delays.held_s(delay_s))
            headers[names.MOVED_AT] = back.isoformat()
        with tracing.publishing(level, headers):
            await self._hand_over(delivery, waiting_copy(delivery.incoming, headers), level, routing_key)

    async def _move(self, delivery: Delivery, lane: str) -> None:
        headers = move_headers(delivery, self._now())
        with tracing.publishing(lane, headers):
            await self._hand_over(delivery, waiting_copy(delivery.incoming, headers), LANE_EXCHANGE, lane)

    async def _dead_letter(self, delivery: Delivery, decision: DeadLetter) -> None:
        headers = notices.reason(delivery.whose, delivery.history, decision, self._now())
        with tracing.publishing(DEAD_LETTER.exchange, headers):
            copy = final_copy(delivery.incoming, headers)
            await self._hand_over(delivery, copy, DEAD_LETTER.exchange, DEAD_LETTER.key)
        await self._announcements.dead_letter(delivery, decision)

    async def _hand_over(self, delivery: Delivery, copy: Copy, exchange: str, routing_key: str) -> None:
        incoming = delivery.incoming
        await self._confirmed.publish(
            incoming, lambda: self._handover.publish(incoming, copy, exchange=exchange, routing_key=routing_key)
        )
