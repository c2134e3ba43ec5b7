"""The headers as schemas: what upstream may send, how a message's history travels, and why it was given up."""

from __future__ import annotations

from typing import Any, Final, get_args

from stream.contract import headers as names
from stream.contract.identifiers import ERROR_TYPE_PATTERN, INTERNAL_ID_PATTERN, TENANT_ID_PATTERN
from stream.contract.moments import MOMENT_SCHEMA
from stream.contract.replay import Replay

Schema = dict[str, Any]

ERROR_TYPE: Final[Schema] = {"type": "string", "pattern": ERROR_TYPE_PATTERN}

UPSTREAM: Final[Schema] = {
    "X-Tenant-ID": {"type": "string", "description": "Upstream's own; kept, not read (the body's tenantId decides)."},
    "X-Correlation-ID": {"type": "string", "description": "Upstream's own; kept, not read."},
}

# OpenTelemetry's, not ours: W3C Trace Context.
TRACE: Final[Schema] = {
    "traceparent": {
        "type": "string",
        "description": "W3C Trace Context, optional: the worker's spans join that trace. While traces are on, what the "
        "worker publishes names the span of the try that published it; else it is kept as it came.",
    },
    "tracestate": {"type": "string", "description": "W3C Trace Context, optional: travels with `traceparent`."},
}

INSTRUCTIONS: Final[Schema] = {
    names.RESEND: {
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "description": "Send once more although an earlier copy was sent: any text, a new one for each resend; at most "
        "256 characters.",
    },
    names.ON_UNKNOWN_OUTCOME: {
        "type": "string",
        "enum": list(get_args(names.OnUnknown)),
        "description": "What to do when a send gets no answer, instead of the worker's ON_UNKNOWN_OUTCOME: send again "
        "(the recipient may get it twice), or dead-letter it for a person to look.",
    },
}

HISTORY: Final[Schema] = {
    names.ATTEMPT: {
        "type": "integer",
        "minimum": 0,
        "maximum": names.MOST_ATTEMPTS,
        "description": "Tries that have ended. Written by the worker when a message waits for a retry; a publisher "
        "leaves it out.",
    },
    names.RETRIES: {
        "type": "object",
        "propertyNames": {"pattern": ERROR_TYPE_PATTERN},
        "additionalProperties": {"type": "integer", "minimum": 0},
        "description": "Error type to the retries it has used (an AMQP table), so that limits hold for any number of "
        "replicas and over restarts.",
    },
    names.FIRST_SEEN: {
        **MOMENT_SCHEMA,
        "description": "When a worker first saw the message, ISO 8601 in UTC; MESSAGE_MAX_AGE_MS after it, the message "
        "is not sent any more.",
    },
    names.LAST_ERROR: {
        "type": "string",
        "maxLength": names.LAST_ERROR_LENGTH,
        "description": "Error type and detail of the failure that it waits for, without secrets.",
    },
    names.UNKNOWN_OUTCOMES: {
        "type": "integer",
        "minimum": 0,
        "description": "Sends that got no answer: each of them may have been delivered.",
    },
    names.MOVED_AT: {
        **MOMENT_SCHEMA,
        "description": "When the message came to its tenant's lane, ISO 8601 in UTC: its tenant had its share of the "
        "slots, so it was moved there; or a wait of such a message ended.",
    },
    names.REDELIVERED: {
        "type": "boolean",
        "description": "The broker had delivered the message before, so its sent event may be missing; written when it "
        "waits or is moved.",
    },
}

FAILURE: Final[Schema] = {
    names.ERROR_TYPE: {**ERROR_TYPE, "description": "A row of the error table; rows may be added."},
    names.ERROR_CODE: {"type": "integer", "description": "Meta's error.code; absent when Meta gave none."},
    names.ERROR_SUBCODE: {"type": "integer", "description": "Meta's error.error_subcode."},
    names.HTTP_STATUS: {
        "type": "integer",
        "minimum": 100,
        "maximum": 599,
        "description": "Meta's HTTP status; absent when there was no answer.",
    },
    names.ERROR_DETAIL: {
        "type": "string",
        "description": "What was wrong, in Meta's words or ours; about 500 characters at most, without secrets.",
    },
    names.FBTRACE_ID: {"type": "string", "description": "Meta's trace id: give it to Meta's support."},
    names.ATTEMPTS: {"type": "integer", "minimum": 1, "description": "Tries it took in all."},
    names.FAILED_AT: {**MOMENT_SCHEMA, "description": "When it was given up, ISO 8601 in UTC."},
    names.TENANT_ID: {
        "type": "string",
        "pattern": TENANT_ID_PATTERN,
        "description": "metadata.tenantId; absent when it could not be read.",
    },
    names.INTERNAL_ID: {
        "type": "string",
        "pattern": INTERNAL_ID_PATTERN,
        "description": "metadata.internalId; absent when it could not be read.",
    },
    names.RETRYABLE: {
        "type": "boolean",
        "description": "True: the worker retries failures of this type by itself, and its retries are used up. It does "
        "not say whether a replay makes sense: x-replay does.",
    },
    names.FINGERPRINT: {
        "type": "string",
        "description": "Names the cause: the same for letters with the same error type, codes, template and detail, "
        "numbers and ids apart, and of the same tenant where the cure is the tenant's own. Letters of an earlier "
        "release have none.",
    },
    names.REPLAY: {
        "type": "string",
        "enum": [each.value for each in Replay],
        "description": "safe: nothing was sent, and after a cure outside the message the same request succeeds. "
        "fix-first: the same request would be refused again. in-doubt: it may have been delivered. pointless: its "
        "validity has passed, the recipient has opted out, or the like. Letters of an earlier release have none.",
    },
}

REPLAYS: Final[Schema] = {
    names.REPLAYS: {
        "type": "integer",
        "minimum": 1,
        "description": "How often `stream dead-letters replay` sent it on.",
    },
    names.REPLAY_JOB: {"type": "string", "description": "The last job that replayed it: see `stream jobs show`."},
    names.REPLAYED_FROM: {
        "type": "string",
        "description": "The id of the dead letter that was replayed; after an edit also what was changed, as JSON.",
    },
}

ORIGINALS: Final[Schema] = {
    names.ORIGINAL_ROUTING_KEY: {
        "type": "string",
        "description": "The routing key it was published with, at most 255 bytes; a replay uses it.",
    },
    names.ORIGINAL_EXPIRATION: {
        "type": "string",
        "description": "The message's own time to live, in milliseconds; set aside, or it would end a wait early. The "
        "worker keeps to it.",
    },
    names.ORIGINAL_USER_ID: {
        "type": "string",
        "description": "The publisher's user_id; set aside, because RabbitMQ compares it with the connection's.",
    },
    names.ORIGINAL_PRIORITY: {
        "type": "integer",
        "description": "The message's own priority; set aside while it waits, and given back to its dead letter.",
    },
    names.ORIGINAL_PREFIX + "cc": {"description": "The CC header; set aside, or it would route the copy elsewhere."},
    names.ORIGINAL_PREFIX + "bcc": {"description": "The BCC header; set aside likewise."},
}

BROKER: Final[Schema] = {
    "x-death": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "required": ["queue", "reason"],
            "properties": {
                "queue": {"type": "string", "description": "Where it died."},
                "reason": {
                    "type": "string",
                    "enum": ["rejected", "expired", "maxlen", "delivery_limit"],
                    "description": "`expired`: it waited longer than the intake queue's 24 hours. `rejected`: the "
                    "worker could not publish a copy.",
                },
                "count": {"type": "integer", "minimum": 1},
                "exchange": {"type": "string"},
                "routing-keys": {"type": "array", "items": {"type": "string"}},
            },
        },
        "description": "RabbitMQ's own record.",
    }
}

_FAILURE_ALWAYS: Final = (names.ERROR_TYPE, names.ATTEMPTS, names.FIRST_SEEN, names.FAILED_AT, names.RETRYABLE)


def header_schemas() -> dict[str, Schema]:
    """Every header schema by its name in the document."""
    return {
        "OutboundHeaders": _all_of(
            "All optional: a message without any header is complete.",
            ["UpstreamHeaders", "TraceHeaders", "InstructionHeaders", "RetryHeaders", "ReplayHeaders"],
        ),
        "DeadLetterHeaders": {
            **_all_of(
                "Everything the message came with, its history, and why it was given up.",
                [
                    "UpstreamHeaders",
                    "TraceHeaders",
                    "InstructionHeaders",
                    "RetryHeaders",
                    "ReplayHeaders",
                    "OriginalHeaders",
                ],
            ),
            "anyOf": [_ref("FailureHeaders"), _ref("BrokerDeadLetterHeaders")],
        },
        "EventHeaders": _all_of("Only while traces are on.", ["TraceHeaders"]),
        "UpstreamHeaders": _object("Examples of headers that upstream sends. Any header is kept.", UPSTREAM),
        "TraceHeaders": _object("Which trace it belongs to.", TRACE),
        "InstructionHeaders": _object("What a publisher, or a replay, may ask for.", INSTRUCTIONS),
        "RetryHeaders": _object("The history of a message, written by the worker when it waits.", HISTORY),
        "ReplayHeaders": _object("Written when an operator replays a dead letter; they stay.", REPLAYS),
        "FailureHeaders": _object(
            "Why the worker gave the message up.",
            {**FAILURE, names.FIRST_SEEN: HISTORY[names.FIRST_SEEN]},
            required=list(_FAILURE_ALWAYS),
        ),
        "OriginalHeaders": _object("What the broker would act on if the copy carried it.", ORIGINALS),
        "BrokerDeadLetterHeaders": _object(
            "RabbitMQ itself dead-lettered the message: it has no failure headers then.", BROKER, required=["x-death"]
        ),
    }


def _all_of(description: str, parts: list[str]) -> Schema:
    return {"description": description, "type": "object", "allOf": [_ref(part) for part in parts]}


def _object(description: str, properties: Schema, required: list[str] | None = None) -> Schema:
    schema: Schema = {"description": description, "type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
