"""The examples, made by the code that makes the real ones: they cannot drift from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from stream.contract import headers as names
from stream.contract.decoding import decode
from stream.contract.headers import History
from stream.contract.identifiers import InternalId, Wamid
from stream.contract.messages import Message, Whose
from stream.contract.publications import ALERT, DEAD_LETTER, SENT
from stream.contract.validity import Validity
from stream.delivery import notices
from stream.delivery.decision import DeadLetter, RetryPolicy, decide
from stream.delivery.outcome import Failed, Sent
from stream.meta.classifier import MetaErrorClassifier
from stream.meta.client import Accepted
from stream.meta.failure import Failure
from stream.retry import RetryHandler
from stream.specification.example_payloads import PAYLOADS, TEMPLATE, TEXT

Example = dict[str, Any]

SEEN: Final = datetime(2026, 11, 24, 6, 15, 2, tzinfo=UTC)
UPSTREAM: Final = {"X-Tenant-ID": "acme", "X-Correlation-ID": "order-4711"}
# The example of W3C Trace Context.
TRACE: Final = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
ORIGINAL: Final = {names.ORIGINAL_ROUTING_KEY: "outbound.processed.acme"}


def examples() -> dict[str, list[Example]]:
    """The examples of every message, by its name."""
    return {
        "OutboundMessage": [*_outbound(), _waited()],
        DEAD_LETTER.name: [_refused(), _exhausted(), _too_late(), _unreadable(), _expired()],
        SENT.name: [_sent(), _sent_late()],
        ALERT.name: [_alert_token(), _alert_template()],
    }


def _body(payload: dict[str, Any], number: int = 4711) -> dict[str, Any]:
    return {
        "metadata": {
            "tenantId": "acme",
            "phoneNumberId": "100000001",
            "internalId": f"order-{number}-confirmation",
            "correlationId": f"order-{number}",
            "timestamp": "2026-11-24T06:15:00Z",
        },
        "wabaPayload": payload,
    }


def _outbound() -> list[Example]:
    return [
        {"name": name, "summary": summary, "headers": UPSTREAM if name == "text" else {}, "payload": _body(payload)}
        for name, (summary, payload) in PAYLOADS.items()
    ]


def _waited() -> Example:
    history = History(SEEN).after("RATE_LIMIT", 1, detail=_THROTTLED.detail)
    return {
        "name": "afterRetry",
        "summary": "A text that comes back after one wait; the headers are the worker's own",
        "headers": {**UPSTREAM, **history.headers(), **ORIGINAL},
        "payload": _body(TEXT),
    }


def _message(payload: dict[str, Any]) -> Message:
    return decode(orjson.dumps(_body(payload)))


def _meta_error(status: int, code: int, message: str, details: str, subcode: int | None = None) -> Failure:
    error: dict[str, Any] = {"message": message, "code": code, "fbtrace_id": "AbCdEfGhIjKlMnOpQrStUv"}
    error |= {"error_data": {"messaging_product": "whatsapp", "details": details}}
    error |= {"error_subcode": subcode} if subcode else {}
    return MetaErrorClassifier().classify(status, orjson.dumps({"error": error}), now=SEEN)


_TOKEN_EXPIRED: Final = _meta_error(
    401, 190, "(#190) Error validating access token", "The session has expired.", subcode=463
)
_NO_TEMPLATE: Final = _meta_error(
    404, 132001, "(#132001) Template name does not exist in the translation", "order_update (en_US)"
)
_THROTTLED: Final = _meta_error(429, 130429, "(#130429) Rate limit hit", "Cloud API message throughput reached.")
_OVERLOADED: Final = _meta_error(503, 131016, "(#131016) Service unavailable", "Service is temporarily unavailable.")


def _dead(
    name: str, summary: str, payload: dict[str, Any], failure: Failure, history: History, *, tries: int
) -> Example:
    return _given_up(name, summary, payload, DeadLetter(failure, tries, exhausted=failure.rule.retryable), history)


def _given_up(name: str, summary: str, payload: dict[str, Any], decision: DeadLetter, history: History) -> Example:
    reason = notices.reason(_message(payload), history, decision, SEEN + timedelta(seconds=8))
    waited = history.headers() if history.attempts else {}
    return {
        "name": name,
        "summary": summary,
        "headers": {**UPSTREAM, **waited, **ORIGINAL, **reason},
        "payload": _body(payload),
    }


def _refused() -> Example:
    return _dead("refused", "Meta refused it: no retry would help", TEMPLATE, _NO_TEMPLATE, History(SEEN), tries=1)


def _exhausted() -> Example:
    history = History(SEEN)
    for _ in range(3):
        history = history.after("META_SERVER_ERROR", 1, detail=_OVERLOADED.detail)
    return _dead("exhausted", "Meta was overloaded four times; worth a replay", TEXT, _OVERLOADED, history, tries=4)


def _too_late() -> Example:
    validity = Validity(SEEN + timedelta(days=1)).until(SEEN + timedelta(seconds=15))
    policy = RetryPolicy(failures=3, throttles=None, backoff=RetryHandler(jitter_s=0.0))
    history, at = History(SEEN).after("RATE_LIMIT", 1, detail=_THROTTLED.detail), SEEN + timedelta(seconds=10)
    decision = decide(Failed(_THROTTLED, sends=1), history, policy, validity=validity, now=at)
    assert isinstance(decision, DeadLetter)  # noqa: S101 - for the type checker
    summary = "Throttled, and its next wait would have outlasted its validity"
    return _given_up("tooLate", summary, TEXT, decision, history)


def _unreadable() -> Example:
    failure = Failure.of("INVALID_MESSAGE", "metadata.tenantId: is required: add it")
    whose = Whose(internal_id=InternalId("order-4711-confirmation"))
    reason = notices.reason(whose, History(SEEN), DeadLetter(failure, 1), SEEN)
    body = {"metadata": {"phoneNumberId": "100000001", "internalId": "order-4711-confirmation"}, "wabaPayload": TEXT}
    return {
        "name": "unreadable",
        "summary": "Not a message of this contract; the original bytes",
        "headers": {**ORIGINAL, **reason},
        "payload": body,
    }


def _expired() -> Example:
    death = {
        "queue": "outbound-processed",
        "reason": "expired",
        "count": 1,
        "exchange": "whatsapp-exchange",
        "routing-keys": ["outbound.processed.acme"],
    }
    return {
        "name": "expired",
        "summary": "Waited 24 hours on the intake queue; RabbitMQ moved it, so it has no failure headers",
        "headers": {**UPSTREAM, "x-death": [death]},
        "payload": _body(TEXT),
    }


def _sent() -> Example:
    accepted = Accepted(Wamid("wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA"), "16505551234", None, 200)
    event = notices.sent(_message(TEXT), History(SEEN), Sent(accepted, 0.2184), SEEN)
    return _event("text", "A text, at the first try", orjson.loads(event))


def _sent_late() -> Example:
    accepted = Accepted(
        Wamid("wamid.HBgLMTY1MDU1NTEyMzQVAgARGBJDMUQ0QUE3RkU5RjA0QkY5NkMA"), "16505551234", "accepted", 200
    )
    history = History(SEEN).after("RATE_LIMIT", 1).after("RATE_LIMIT", 1)
    event = notices.sent(_message(TEMPLATE), history, Sent(accepted, 0.4021), SEEN + timedelta(seconds=31))
    return _event("template", "A template, at the third try", orjson.loads(event))


def _alert_token() -> Example:
    return _alert("token", "The tenant's token has expired: an operator should act", TEXT, _TOKEN_EXPIRED)


def _alert_template() -> Example:
    paused = _meta_error(400, 132015, "(#132015) Template is paused", "Paused due to low quality.")
    return _alert("template", "A template was paused: operator and tenant should know", TEMPLATE, paused)


def _alert(name: str, summary: str, payload: dict[str, Any], failure: Failure) -> Example:
    event = notices.alert(_message(payload), DeadLetter(failure, 1), SEEN + timedelta(seconds=1))
    return _event(name, summary, event.model_dump(mode="json", exclude_none=True))


def _event(name: str, summary: str, payload: dict[str, Any]) -> Example:
    return {"name": name, "summary": summary, "headers": TRACE, "payload": payload}
