"""How to publish a message, in three languages: in the document, coloured on the site. A test runs each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sample:
    """A program that publishes one message.

    Attributes:
        language: What the program is written in, as Markdown names it.
        title: The language and what it is used with, for people.
        code: The program. Its addresses and passwords come from the environment.
    """

    language: str
    title: str
    code: str


PYTHON: Final = Sample(
    "python",
    "Python with aio-pika",
    """\
import asyncio
import json
import os

import aio_pika

MESSAGE = {
    "metadata": {
        "tenantId": "acme",
        "phoneNumberId": "100000001",
        "internalId": "order-4711",
    },
    "wabaPayload": {
        "messaging_product": "whatsapp",
        "to": "+16505551234",
        "type": "text",
        "text": {"body": "Your order 4711 is on its way."},
    },
}


async def publish() -> None:
    url = os.environ["RABBITMQ_URL"]
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(
            publisher_confirms=True,
            on_return_raises=True,  # if no queue takes the message
        )
        exchange = await channel.get_exchange(
            "whatsapp-exchange", ensure=False
        )
        await exchange.publish(
            aio_pika.Message(
                json.dumps(MESSAGE).encode(),
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            ),
            f"outbound.processed.{MESSAGE['metadata']['tenantId']}",
            mandatory=True,
        )


asyncio.run(publish())
""",
)

NODE: Final = Sample(
    "javascript",
    "Node with amqplib",
    """\
import amqp from "amqplib";

const message = {
  metadata: {
    tenantId: "acme",
    phoneNumberId: "100000001",
    internalId: "order-4711",
  },
  wabaPayload: {
    messaging_product: "whatsapp",
    to: "+16505551234",
    type: "text",
    text: { body: "Your order 4711 is on its way." },
  },
};

const connection = await amqp.connect(process.env.RABBITMQ_URL);
const channel = await connection.createConfirmChannel();
// RabbitMQ returns a message that no queue takes.
channel.on("return", () => {
  throw new Error("no queue is bound: does the worker run?");
});
channel.publish(
  "whatsapp-exchange",
  `outbound.processed.${message.metadata.tenantId}`,
  Buffer.from(JSON.stringify(message)),
  { persistent: true, mandatory: true },
);
await channel.waitForConfirms();
await connection.close();
""",
)

CURL: Final = Sample(
    "sh",
    "curl with the management API",
    """\
# For a try by hand.
# It answers {"routed":true} if the queue is there.
MESSAGE=$(base64 <<'END' | tr -d '\\n'
{
  "metadata": {
    "tenantId": "acme",
    "phoneNumberId": "100000001",
    "internalId": "order-4711"
  },
  "wabaPayload": {
    "messaging_product": "whatsapp",
    "to": "+16505551234",
    "type": "text",
    "text": {"body": "Your order 4711 is on its way."}
  }
}
END
)
EXCHANGE="exchanges/%2Fwhatsapp/whatsapp-exchange"
curl --fail --user "$RABBITMQ_USER:$RABBITMQ_PASSWORD" \\
  "http://localhost:15672/api/$EXCHANGE/publish" \\
  --data @- <<END
{
  "routing_key": "outbound.processed.acme",
  "properties": {"delivery_mode": 2},
  "payload_encoding": "base64",
  "payload": "$MESSAGE"
}
END
""",
)

SAMPLES: Final = (PYTHON, NODE, CURL)


def samples() -> str:
    """All samples in Markdown, each with its title behind its language."""
    return "\n\n".join(f"```{one.language} {one.title}\n{one.code}```" for one in SAMPLES)
