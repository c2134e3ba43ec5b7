"""What the worker publishes about a settled message: a dead letter's reason, and the two events. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from stream.contract import headers as names
from stream.contract.events import DeliveryAlert, DeliverySent, quick_form, quick_json
from stream.contract.headers import History
from stream.contract.messages import Message, Whose
from stream.contract.replay import Replay
from stream.delivery.decision import DeadLetter
from stream.delivery.outcome import Duplicate, Sent
from stream.meta.causes import fingerprint, replay_of
from stream.meta.errors import ERROR_TABLE
from stream.meta.failure import Failure
from stream.observe.redaction import redacted
from stream.traffic.circuit import State
from stream.traffic.transitions import Transition

_Sent: Final = quick_form(DeliverySent)


def reason(whose: Message | Whose, history: History, decision: DeadLetter, now: datetime) -> dict[str, Any]:
    """The failure headers of a dead letter; what is not known is left out."""
    failure = decision.failure
    headers = {
        names.ERROR_TYPE: failure.rule.name,
        names.ERROR_CODE: failure.code,
        names.ERROR_SUBCODE: failure.subcode,
        names.HTTP_STATUS: failure.http_status,
        names.ERROR_DETAIL: redacted(failure.detail),
        names.FBTRACE_ID: failure.fbtrace_id,
        names.ATTEMPTS: decision.attempts,
        names.FIRST_SEEN: history.first_seen.isoformat(),
        names.FAILED_AT: now.isoformat(),
        names.TENANT_ID: whose.tenant_id,
        names.INTERNAL_ID: whose.internal_id,
        names.RETRYABLE: failure.rule.retryable,
        names.UNKNOWN_OUTCOMES: decision.unknown or None,
        names.FINGERPRINT: _fingerprint(whose, failure),
        names.REPLAY: _replay(decision).value,
    }
    return {name: value for name, value in headers.items() if value is not None}


def _fingerprint(whose: Message | Whose, failure: Failure) -> str:
    template_name, number = (whose.template_name, whose.phone_number_id) if isinstance(whose, Message) else (None, None)
    return fingerprint(
        failure.rule,
        code=failure.code,
        subcode=failure.subcode,
        detail=failure.detail,
        template_name=template_name,
        tenant_id=whose.tenant_id,
        ids=(whose.internal_id, number),
    )


def _replay(decision: DeadLetter) -> Replay:
    return replay_of(decision.failure.rule, in_doubt=decision.unknown > 0)


def sent(message: Message, history: History, outcome: Sent | Duplicate, now: datetime) -> bytes:
    """The event for a message that Meta accepted, now or before: the JSON of a `DeliverySent`.

    It is written without making one, which takes twice as long; a test compares the two.
    """
    accepted = outcome.first if isinstance(outcome, Duplicate) else outcome.accepted
    event = _Sent(
        tenant_id=message.tenant_id,
        internal_id=message.internal_id,
        correlation_id=message.correlation_id,
        phone_number_id=message.phone_number_id,
        type=message.payload_type,
        wamid=accepted.wamid,
        wa_id=accepted.wa_id,
        message_status=accepted.message_status,
        attempts=history.attempts + (1 if isinstance(outcome, Duplicate) else outcome.sends),
        possibly_sent_twice=history.unknown > 0 or outcome.after_unknown,
        first_seen_at=history.first_seen,
        sent_at=now,
        process_ms=None if isinstance(outcome, Duplicate) else round(outcome.process_s * 1000, 1),
    )
    return quick_json(event)


def alert(message: Message, decision: DeadLetter, now: datetime, count: int = 1) -> DeliveryAlert:
    """The event for a failure whose row says alert or notify; `count` is how many there were since the last one."""
    failure = decision.failure
    return DeliveryAlert(
        tenant_id=message.tenant_id,
        internal_id=message.internal_id,
        correlation_id=message.correlation_id,
        phone_number_id=message.phone_number_id,
        type=message.payload_type,
        template_name=message.template_name,
        error_type=failure.rule.name,
        error_code=failure.code,
        error_subcode=failure.subcode,
        http_status=failure.http_status,
        scope=failure.rule.scope,
        alert=failure.rule.alert,
        notify=failure.rule.notify,
        meaning=failure.rule.meaning,
        advice=failure.rule.advice,
        replay=_replay(decision),
        fingerprint=_fingerprint(message, failure),
        failed_at=now.isoformat(),
        count=count,
    )


def circuit_alert(message: Message, transition: Transition, now: datetime) -> DeliveryAlert:
    """The event for a circuit that has changed its state while this message was tried."""
    circuit = transition.circuit
    rule = ERROR_TABLE.get(circuit.reason, ERROR_TABLE["META_SERVER_ERROR"])
    return DeliveryAlert(
        tenant_id=message.tenant_id,
        internal_id=message.internal_id,
        correlation_id=message.correlation_id,
        phone_number_id=message.phone_number_id,
        type=message.payload_type,
        error_type=rule.name,
        scope=transition.scope,
        alert=transition.to is State.OPEN,
        notify=rule.notify and transition.to is State.OPEN,
        meaning=rule.meaning,
        advice=rule.advice,
        replay=replay_of(rule, in_doubt=False),
        fingerprint=_fingerprint(message, Failure.of(rule.name, "")),
        failed_at=now.isoformat(),
        circuit=transition.to,
        circuit_id=transition.id,
        failures=circuit.failures,
        since=circuit.began.isoformat(),
    )
