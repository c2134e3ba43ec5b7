// A lean worker: amqplib and axios over a keep-alive agent, cached credentials, one JSON log line a message.
// Like the floor it keeps none of the real worker's promises: no ledger, no retries, no dead letters, no events.
import http from "node:http";
import amqp from "amqplib";
import axios from "axios";

const { RABBITMQ_URL, RABBITMQ_PREFETCH, META_API_BASE_URL } = process.env;
const prefetch = Number(RABBITMQ_PREFETCH);
const client = axios.create({
  httpAgent: new http.Agent({ keepAlive: true, maxSockets: prefetch }),
  timeout: 10_000,
  proxy: false,
});
const credentials = new Map();

function tokenOf(tenant) {
  if (!credentials.has(tenant)) credentials.set(tenant, `Bearer of-${tenant}`);
  return credentials.get(tenant);
}

async function deliver(message) {
  const started = performance.now();
  const { metadata, wabaPayload } = JSON.parse(message.content.toString());
  const answer = await client.post(`${META_API_BASE_URL}/v26.0/${metadata.phoneNumberId}/messages`, wabaPayload, {
    headers: { Authorization: tokenOf(metadata.tenantId) },
  });
  const line = {
    timestamp: new Date().toISOString(),
    level: "info",
    event: "delivered",
    tenantId: metadata.tenantId,
    internalId: metadata.internalId,
    wamid: answer.data.messages[0].id,
    durationMs: performance.now() - started,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const connection = await amqp.connect(RABBITMQ_URL);
const channel = await connection.createChannel();
await channel.prefetch(prefetch);
await channel.consume("outbound-processed", async (message) => {
  await deliver(message);
  channel.ack(message);
});
