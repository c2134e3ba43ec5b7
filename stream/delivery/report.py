"""One log line for each outcome. Its level shows the decision: info done, warning waiting, error dead-lettered."""

from __future__ import annotations

from logging import INFO, WARNING
from typing import Any, Final

import structlog

from stream.contract.headers import History
from stream.contract.messages import Message, Whose
from stream.delivery.decision import Acknowledge, DeadLetter, Decision, LeaveToBroker, Move, Postpone, RetryAfter
from stream.delivery.outcome import Duplicate, Sent, WaitsFor
from stream.meta.failure import Failure
from stream.observe.redaction import masked_number

WAITING: Final[dict[WaitsFor, str]] = {
    "other_send": "waiting_for_other_send",
    "turn": "waiting_for_turn",
    "backoff": "waiting_for_backoff",
    "circuit": "waiting_for_circuit",
    "pace": "waiting_for_pace",
}

log = structlog.get_logger("stream.delivery")


def settled(message: Message | Whose, history: History, decision: Decision) -> None:
    """Log what became of a message, once it has been settled."""
    who = log_fields(message)
    match decision:
        case Acknowledge(Sent() as sent):
            accepted = sent.accepted
            log.info(
                "delivered",
                **who,
                wamid=accepted.wamid,
                messageStatus=accepted.message_status,
                durationMs=round(sent.process_s * 1000, 1),
                attempt=history.attempts + sent.sends,
            )
        case Acknowledge(Duplicate(first)):
            log.info("duplicate", **who, firstWamid=first.wamid)
        case Postpone(delay_s, waits_for=what, reason=reason):
            waits_for = {"reason": reason} if reason else {}
            # That a message waits for its turn within a rate limit is no trouble.
            log.log(INFO if what == "pace" else WARNING, WAITING[what], **who, **waits_for, retryInS=round(delay_s, 2))
        case Move(lane):
            log.debug("moved_to_lane", **who, lane=lane)  # a backlog has thousands; its tenant is logged once
        case RetryAfter(failure, delay_s, after, process_s):
            why = {**_why(failure), "durationMs": round(process_s * 1000, 1), "attempt": after.attempts}
            log.warning("waiting_for_retry", **who, **why, retryInS=round(delay_s, 2))
        case LeaveToBroker(reason):
            log.error("dead_lettered_by_broker", reason=reason, **who)
        case DeadLetter(failure, attempts, exhausted, process_s=process_s):
            why = {**_why(failure), "durationMs": round(process_s * 1000, 1), "attempt": attempts}
            log.error("dead_lettered", **who, **why, retriesExhausted=exhausted)


def log_fields(message: Message | Whose | None) -> dict[str, Any]:
    """Whose message it is and what kind, without its content; the recipient's number is masked."""
    if not isinstance(message, Message):
        known = {"tenantId": message.tenant_id, "internalId": message.internal_id} if message else {}
        return {name: value for name, value in known.items() if value is not None}
    who = {
        "tenantId": message.tenant_id,
        "internalId": message.internal_id,
        "phoneNumberId": message.phone_number_id,
        "type": message.payload_type[:64],
    }
    if message.correlation_id:
        who["correlationId"] = message.correlation_id[:256]
    if message.instructions.resend:
        who["resend"] = message.instructions.resend
    if recipient := message.recipient:
        who["recipient"] = masked_number(recipient)
    return who


def _why(failure: Failure) -> dict[str, Any]:
    why = {
        "errorType": failure.rule.name,
        "code": failure.code,
        "subcode": failure.subcode,
        "httpStatus": failure.http_status,
        "fbtrace_id": failure.fbtrace_id,
        "certainty": failure.certainty,
        "detail": failure.detail,
    }
    return {key: value for key, value in why.items() if value is not None}
