"""The document's first page: what the service promises, how to publish, how it retries."""

from __future__ import annotations

from typing import Any, Final

from stream.contract.publications import ALERT, SENT
from stream.contract.queues import DEAD_LETTER_QUEUE, INTAKE_EXCHANGE, INTAKE_QUEUE, INTAKE_TTL_MS
from stream.delivery.decision import LONGEST_SERVER_WISH_S
from stream.retry import JITTER_S
from stream.settings import Settings
from stream.specification.publishing import samples
from stream.specification.retries import retry_table

TITLE: Final = "whatsapp-stream"
IDENTIFIER: Final = "urn:whatsapp-stream:worker"
CONTACT: Final = {"name": "The maintainers of whatsapp-stream"}
LICENCE: Final = {"name": "MIT", "url": "https://opensource.org/license/mit"}
EXTERNAL_DOCS: Final = {
    "description": "Meta: messages of the WhatsApp Cloud API",
    "url": "https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages",
}
TAGS: Final = (
    {"name": "publish", "description": "What upstream services send to the worker."},
    {"name": "events", "description": "What the worker tells others; binding a queue is optional."},
    {"name": "operations", "description": "What operators look after."},
)

HOUR_MS: Final = 3_600_000
HOURS: Final = INTAKE_TTL_MS // HOUR_MS
MAX_AGE_HOURS: Final = Settings.model_fields["message_max_age_ms"].default // HOUR_MS
LEDGER_HOURS: Final = Settings.model_fields["sent_ledger_ttl_ms"].default // HOUR_MS

DESCRIPTION: Final = f"""\
A worker that takes ready-made WhatsApp messages for many tenants from RabbitMQ, sends them through Meta's Graph API,
and settles every message exactly one way: **delivered**, **waiting** for a retry, or **dead-lettered** with the whole
reason.

## What it promises

- **Nothing is lost.** A message is acknowledged only after what becomes of it was confirmed: by Meta, or by the
  broker.
- **Sent once.** A message that Meta accepted is not sent again: a duplicate, delivered or published within
  {LEDGER_HOURS} hours, is only acknowledged. Identity is `tenantId`, `internalId` and the payload: an audio file and
  its caption may share an `internalId`. The exceptions: a send that got no answer (`x-on-unknown-outcome` decides), an
  error answer for a message that Meta delivered all the same, Redis being away, and an explicit `x-resend`.
- **Byte for byte.** The `wabaPayload` that arrived is what reaches Meta. Nothing is added, dropped or reordered.
- **Every header and property is kept** when a message waits, or is dead-lettered.
- **A type that Meta adds tomorrow works today**: an unknown `type` with its same-named content is forwarded.
- **No order.** Messages are sent concurrently by any number of replicas.
- Events come **at least once**; consumers must ignore fields they do not know.

## How to publish

1. Publish to the topic exchange `{INTAKE_EXCHANGE}` with the routing key `outbound.processed.{{tenantId}}`, persistent
   (delivery mode 2), mandatory, with publisher confirms. No header and no property is required.
2. The body is one JSON object with `metadata` and `wabaPayload`. Required: `tenantId`, `phoneNumberId`, `internalId`,
   and a payload with `type` and the content of the same name.
3. Keep `internalId` the same when you publish a message again: that is what makes it safe.
4. Bind a queue to `{SENT.binding}` or `{ALERT.binding}` to hear what became of it.

{samples()}

To assert the queue `{INTAKE_QUEUE}` yourself, use exactly the arguments that the running worker shows at the channel
(`RABBITMQ_QUEUE_TYPE` decides), or RabbitMQ answers PRECONDITION_FAILED. A message that waits on it for {HOURS} hours
is dead-lettered. Queues named `whatsapp-…` are the worker's own: what waits, and what is due after a wait.

## How long a message is valid

Set `metadata.validUntil` where a late message is worse than none, as with a one-time password; or set the AMQP property
`expiration`, which counts from the property `timestamp`, or from the worker's first sight of the message. After that
moment the message is not sent any more, whatever it waited for, and no wait begins that would end after it. Every
message ends {MAX_AGE_HOURS} hours after its first sight (MESSAGE_MAX_AGE_MS). It is dead-lettered as MESSAGE_EXPIRED
then, with its last failure in the detail. A copy of a message that was sent stays a duplicate.

## How it retries

Counts travel in the message's headers, so that they hold over restarts and for any number of replicas. Waiting is done
on the broker. Throttles, and a Tenant Service that is away, end a message only with its validity. Each delay gets up to
{JITTER_S:g} s of jitter; a `Retry-After` from Meta is honoured up to {LONGEST_SERVER_WISH_S / 60:g} minutes. Every
other error goes to the queue `{DEAD_LETTER_QUEUE}` at once. Where the worker keeps a rate limit itself
(PHONE_NUMBER_RATE, PAIR_INTERVAL_MS), a refusal for the rate slows down that limit, and its message waits for its turn
instead of the delay below. With the default settings:

{retry_table()}
"""


def info() -> dict[str, Any]:
    """Arguments for FastStream's `AsyncAPI`."""
    return {
        "title": TITLE,
        "description": DESCRIPTION,
        "license": LICENCE,
        "contact": CONTACT,
        "tags": TAGS,
        "external_docs": EXTERNAL_DOCS,
        "identifier": IDENTIFIER,
    }
