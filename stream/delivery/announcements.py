"""The events: what upstream and operators are told of a message. The loss of one does not hold its message back."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import structlog
from aio_pika import DeliveryMode

from stream.broker.express import ExpressLane, Properties, Unanswered
from stream.contract.events import DeliveryAlert
from stream.contract.identifiers import routing_word
from stream.contract.messages import Message
from stream.contract.publications import ALERT, SENT, Publication
from stream.delivery import notices, report
from stream.delivery.alert_interval import AlertInterval
from stream.delivery.arrival import Delivery
from stream.delivery.confirmed import Confirmed, Unconfirmed
from stream.delivery.decision import DeadLetter
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.outcome import Duplicate, Sent
from stream.observe import tracing
from stream.traffic.transitions import Transition

SHORT_STRING: Final = 255

log = structlog.get_logger("stream.delivery")


def _short(text: str | None) -> str | None:
    """The text, if AMQP can carry it as a property: at most 255 bytes."""
    return text if text is not None and len(text.encode()) <= SHORT_STRING else None


class Announcements:
    """Publishes events.

    Args:
        express: Publishes them.
        confirmed: Waits for the broker's confirm.
        alerts: Says when an alert is due.
        metrics: Counts events that were lost.
        now: The current time in UTC.
    """

    def __init__(
        self,
        express: ExpressLane,
        confirmed: Confirmed,
        alerts: AlertInterval,
        metrics: DeliveryMetrics,
        now: Callable[[], datetime],
    ) -> None:
        self._express = express
        self._confirmed = confirmed
        self._alerts = alerts
        self._metrics = metrics
        self._now = now

    async def dead_letter(self, delivery: Delivery, decision: DeadLetter) -> None:
        """Alert people to a dead letter, if its row says so, and if an alert of its kind is due."""
        message, rule = delivery.message, decision.failure.rule
        if message is None or not rule.reported:
            return
        if count := await self._alerts.count(message.tenant_id, rule.name):
            await self._alert(delivery, message, notices.alert(message, decision, self._now(), count))

    async def circuit(self, delivery: Delivery, transition: Transition) -> None:
        """Alert people to a circuit that has changed its state."""
        if delivery.message is not None:
            alert = notices.circuit_alert(delivery.message, transition, self._now())
            await self._alert(delivery, delivery.message, alert)

    async def _alert(self, delivery: Delivery, message: Message, alert: DeliveryAlert) -> None:
        body = alert.model_dump_json(exclude_none=True).encode()
        await self._event(ALERT, delivery, message, body, uuid.uuid4().hex)

    async def sent(self, delivery: Delivery, outcome: Sent | Duplicate) -> None:
        """Announce a message that Meta has accepted, now or before."""
        # A duplicate is announced only if the broker has delivered it before: the first try may have lost its channel,
        # or its replica, before it could announce what it had sent.
        news = isinstance(outcome, Sent) or delivery.came_before
        if delivery.message is not None and news:
            body = notices.sent(delivery.message, delivery.history, outcome, self._now())
            accepted = outcome.accepted if isinstance(outcome, Sent) else outcome.first
            # A sent event that comes twice is known by its id.
            await self._event(SENT, delivery, delivery.message, body, accepted.wamid)

    async def _event(
        self, event: Publication, delivery: Delivery, message: Message, body: bytes, message_id: str
    ) -> None:
        incoming, routing_key = delivery.incoming, event.key + routing_word(message.tenant_id)
        headers: dict[str, Any] = {}
        properties = Properties(
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT if event.persistent else DeliveryMode.NOT_PERSISTENT,
            correlation_id=_short(message.correlation_id) or incoming.correlation_id,
            message_id=_short(message_id),
            timestamp=self._now(),
            headers=headers,
        )

        def publish() -> Awaitable[None]:
            return self._express.publish(incoming, body, properties, exchange=event.exchange, routing_key=routing_key)

        try:
            with tracing.publishing(event.key.removesuffix("."), headers):
                await self._confirmed.publish(incoming, publish)
        except Unanswered as error:
            # The acknowledgement follows it on the same connection: the broker takes both, or neither.
            log.warning("event_unconfirmed", routingKey=routing_key, reason=str(error), **report.log_fields(message))
        except Unconfirmed as error:
            self._metrics.event_lost()
            log.warning("event_lost", routingKey=routing_key, reason=str(error), **report.log_fields(message))
