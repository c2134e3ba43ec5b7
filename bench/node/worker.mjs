// A lean worker: amqplib, axios or undici (HTTP_CLIENT) over keep-alive, cached credentials, one JSON log line a message.
// Like the floor it keeps none of the real worker's promises: no ledger, no retries, no dead letters, no events.
import http from "node:http";
import amqp from "amqplib";

const { RABBITMQ_URL, RABBITMQ_PREFETCH, META_API_BASE_URL, HTTP_CLIENT } = process.env;
const prefetch = Number(RABBITMQ_PREFETCH);
const credentials = new Map();

async function axiosPost() {
  const { default: axios } = await import("axios");
  const client = axios.create({
    baseURL: META_API_BASE_URL,
    httpAgent: new http.Agent({ keepAlive: true, maxSockets: prefetch }),
    timeout: 10_000,
    proxy: false,
  });
  return async (path, headers, payload) => (await client.post(path, payload, { headers })).data;
}

// A pool of connections to one origin: what undici's documentation ("Client", "Pool") has for many requests to one host.
async function undiciPost() {
  const { Pool } = await import("undici");
  const pool = new Pool(META_API_BASE_URL, { connections: prefetch, headersTimeout: 10_000, bodyTimeout: 10_000 });
  return async (path, headers, payload) => {
    const answer = await pool.request({
      method: "POST",
      path,
      headers: { ...headers, "content-type": "application/json" },
      body: JSON.stringify(payload),
    });
    if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
    return answer.body.json();
  };
}

const post = await (HTTP_CLIENT === "undici" ? undiciPost() : axiosPost());

function tokenOf(tenant) {
  if (!credentials.has(tenant)) credentials.set(tenant, `Bearer of-${tenant}`);
  return credentials.get(tenant);
}

async function deliver(message) {
  const started = performance.now();
  const { metadata, wabaPayload } = JSON.parse(message.content.toString());
  const headers = { Authorization: tokenOf(metadata.tenantId) };
  const answer = await post(`/v26.0/${metadata.phoneNumberId}/messages`, headers, wabaPayload);
  const line = {
    timestamp: new Date().toISOString(),
    level: "info",
    event: "delivered",
    tenantId: metadata.tenantId,
    internalId: metadata.internalId,
    wamid: answer.messages[0].id,
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
