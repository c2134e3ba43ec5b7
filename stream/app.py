"""The composition root: settings → clients → broker → routes. Nothing else builds anything.

Run it with `faststream run stream.app:app`.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

import httpx
from faststream import FastStream
from faststream.rabbit import RabbitBroker
from yarl import URL

from stream import __version__
from stream.broker.connection import BrokerConnection
from stream.broker.depths import QueueDepths, count
from stream.broker.express import ExpressLane
from stream.broker.handover import Handover
from stream.broker.publishers import declare_publishers
from stream.broker.wire import guard_deliveries
from stream.contract.queues import INTAKE_EXCHANGE, INTAKE_QUEUE
from stream.delivery.consumer import MessageConsumer
from stream.delivery.decision import RetryPolicy
from stream.delivery.inflight import InFlight
from stream.delivery.ledger import SentLedger
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.poison import PoisonGuard
from stream.delivery.processor import MessageProcessor
from stream.delivery.settlement import Settlement
from stream.delivery.subscriber import build_subscriber
from stream.delivery.unpublished import UnpublishedWaits
from stream.lifecycle import Lifecycle, Worker
from stream.meta.classifier import MetaErrorClassifier
from stream.meta.client import GraphClient
from stream.meta.transport import HonestTransport, Transport
from stream.observe import tracing
from stream.observe.health import HealthServer
from stream.observe.instruments import Instruments
from stream.observe.status import Dependency, Status, reachable
from stream.operations.invocation import Invocation
from stream.redis_link import RedisLink, connect
from stream.retry import RetryHandler
from stream.settings import DocumentedSettings, InvalidSettings, Settings, load_settings
from stream.specification.document import ContractSpecification
from stream.tenants.cache import CredentialCache
from stream.tenants.client import TenantServiceClient
from stream.tenants.codec import CredentialCodec
from stream.tenants.ownership import NumberOwnership
from stream.tenants.provider import PATIENCE_S, CredentialProvider

HEARTBEAT_S: Final = 10  # a frozen broker is noticed within three of these; RabbitMQ's own default is 60
RECONNECT_S: Final = 1.0
CONNECT_SHARE: Final = 0.5  # of META_API_TIMEOUT_MS: a connect that hangs is then told apart from an answer that hangs
LEASE_MARGIN_S: Final = 5.0  # a claim outlives the longest send by this, so that only a dead replica lets it end
STOP_ALLOWANCE_S: Final = 5.0  # for FastStream's own wait, after ours: by then nothing runs any more
STUCK_ALLOWANCE_S: Final = 60.0  # a try has its bound, a publish too; what is older than both is stuck for good
BOUND_MARGIN_S: Final = 5.0  # a try takes at most two sends and two waits for credentials, and this


def create_app(settings: Settings) -> FastStream:
    """Build the application; nothing connects before it runs."""
    worker = _build(settings)
    life = Lifecycle(worker, settings)
    app = FastStream(worker.broker, logger=None, lifespan=life.around, specification=ContractSpecification())

    @app.on_startup
    async def open_intake() -> None:
        await life.open(app)

    app.after_startup(life.started)
    app.on_shutdown(life.drain)
    return app


def _build(settings: Settings) -> Worker:
    guard_deliveries()
    instruments = Instruments(tenants=settings.metrics_tenants)
    refused = instruments.counter("redis_refused_total")
    redis = RedisLink(connect(settings.redis_url.get_secret_value()), on_refused=refused.inc)
    # Half of the connections is for fetches that a message waits for, half for those that go on without one.
    tenant_transport = HonestTransport(2 * settings.rabbitmq_prefetch)
    tenant_http = httpx.AsyncClient(transport=tenant_transport, timeout=None)  # noqa: S113 - the client bounds each attempt
    connect_s = settings.meta_api_timeout_ms / 1000 * CONNECT_SHARE
    graph_http = HonestTransport(settings.rabbitmq_prefetch, connect_s=connect_s)
    retry = RetryHandler(
        base_delay_s=settings.meta_api_retry_delay_ms / 1000, cap_s=settings.meta_api_retry_max_delay_ms / 1000
    )
    bound_s = 2 * (settings.meta_api_timeout_ms / 1000 + PATIENCE_S) + BOUND_MARGIN_S
    credentials = _credentials(settings, redis, tenant_http)
    metrics = DeliveryMetrics(instruments)
    processor = _processor(settings, redis, graph_http, credentials, metrics=metrics, bound_s=bound_s)

    broker = _broker(settings)
    in_flight, express = InFlight(), ExpressLane(INTAKE_EXCHANGE)
    policy = RetryPolicy(
        settings.meta_api_max_retries,
        settings.rate_limit_max_retries,
        retry,
        timedelta(milliseconds=settings.message_max_age_ms),
    )
    declare_publishers(broker)
    unpublished = UnpublishedWaits(redis)
    vhost = URL(settings.rabbitmq_url.get_secret_value()).path.removeprefix("/") or "/"
    connection = BrokerConnection(broker, vhost=vhost, queue_kind=settings.rabbitmq_queue_type)
    consumer = MessageConsumer(
        settlement=Settlement(Handover(), express, unpublished, mend_topology=connection.mend, metrics=metrics),
        policy=policy,
        guard=PoisonGuard(redis, bound_s=bound_s),
        unpublished=unpublished,
        metrics=metrics,
        tried=in_flight.tried,
    )
    broker.include_router(
        build_subscriber(
            processor=processor,
            consumer=consumer,
            in_flight=in_flight,
            prefetch=settings.rabbitmq_prefetch,
            max_bytes=settings.message_max_bytes,
            queue_kind=settings.rabbitmq_queue_type,
        )
    )
    health = _health(settings, connection, in_flight, redis, instruments, metrics, bound_s=bound_s)
    return Worker(broker, connection, express, in_flight, health, redis, graph_http, tenant_http, bound_s)


def _health(
    settings: Settings,
    connection: BrokerConnection,
    in_flight: InFlight,
    redis: RedisLink,
    instruments: Instruments,
    metrics: DeliveryMetrics,
    *,
    bound_s: float,
) -> HealthServer:
    depths = QueueDepths(lambda: connection.robust)
    _show(instruments, in_flight, redis)
    return HealthServer(
        settings.http_host,
        settings.http_port,
        status=_status(settings, connection, redis, metrics, depths).read,
        ready=lambda: connection.consuming,
        alive=lambda: in_flight.oldest_s() < bound_s + STUCK_ALLOWANCE_S and connection.stuck_s() < STUCK_ALLOWANCE_S,
        metrics=lambda: _rendered(instruments, depths),
        queues=lambda: connection.queue_arguments,
    )


def _show(instruments: Instruments, in_flight: InFlight, redis: RedisLink) -> None:
    """Connect the gauges to what they show."""
    instruments.gauge("worker_info").labels(__version__).set(1)
    instruments.gauge("messages_in_flight").set_function(lambda: len(in_flight))
    instruments.gauge("message_oldest_age_seconds").set_function(in_flight.oldest_message_s)
    instruments.gauge("redis_away").set_function(lambda: float(redis.away))


async def _rendered(instruments: Instruments, depths: QueueDepths) -> bytes:
    """The metrics; a broker that does not tell its depths leaves them out, since an old number would be a lie."""
    gauge = instruments.gauge("queue_messages")
    gauge.clear()
    for queue, messages in asdict(known).items() if (known := await depths.read()) else ():
        gauge.labels(queue).set(messages)
    return instruments.render()


def _status(
    settings: Settings, connection: BrokerConnection, redis: RedisLink, metrics: DeliveryMetrics, depths: QueueDepths
) -> Status:
    async def ask_rabbitmq() -> None:
        if connection.robust is None:
            raise ConnectionError
        await count(connection.robust, INTAKE_QUEUE)

    async def details() -> dict[str, Any]:
        rate, failed = metrics.last_minute.rates()
        known = await depths.read()
        return {
            "lastMinute": {"messagesPerSecond": round(rate, 2), "errorRate": round(failed, 4)},
            "queues": asdict(known) if known else None,
        }

    return Status(
        (
            Dependency("rabbitmq", required=True, probe=ask_rabbitmq),
            Dependency("redis", required=False, probe=redis.redis.ping),
            Dependency("tenantService", required=False, probe=lambda: reachable(settings.tenant_service_url)),
            Dependency("metaApi", required=True, probe=lambda: reachable(settings.meta_api_base_url)),
        ),
        consuming=lambda: connection.consuming,
        details=details,
    )


def _processor(
    settings: Settings,
    redis: RedisLink,
    graph_http: Transport,
    credentials: CredentialProvider,
    *,
    metrics: DeliveryMetrics,
    bound_s: float,
) -> MessageProcessor:
    timeout_s = settings.meta_api_timeout_ms / 1000
    return MessageProcessor(
        credentials=credentials,
        ledger=SentLedger(
            redis,
            replica=f"{socket.gethostname()}:{os.getpid()}",
            lease_s=timeout_s + LEASE_MARGIN_S,
            ttl_ms=settings.sent_ledger_ttl_ms,
            most_doubts=settings.meta_api_max_retries,
        ),
        graph=GraphClient(
            graph_http,
            base_url=settings.meta_api_base_url,
            version=settings.meta_api_version,
            timeout_s=timeout_s,
            classifier=MetaErrorClassifier(),
        ),
        on_unknown=settings.on_unknown_outcome,
        metrics=metrics,
        bound_s=bound_s,
    )


def _credentials(settings: Settings, redis: RedisLink, http: httpx.AsyncClient) -> CredentialProvider:
    timeout_s = settings.tenant_service_timeout_ms / 1000
    token = settings.tenant_service_token
    client = TenantServiceClient(
        http,
        base_url=settings.tenant_service_url,
        path=settings.tenant_credentials_path,
        service_token=token.get_secret_value() if token else None,
        timeout_s=timeout_s,
        ttl_ms=settings.credential_cache_ttl_ms,
        retry=RetryHandler(),
    )
    cache = CredentialCache(redis, CredentialCodec(settings.fernet_keys))
    ownership = NumberOwnership(settings.tenant_owns_number)
    return CredentialProvider(cache, client, ownership, places=settings.rabbitmq_prefetch)


def _broker(settings: Settings) -> RabbitBroker:
    url = URL(settings.rabbitmq_url.get_secret_value())
    return RabbitBroker(
        str(url if "heartbeat" in url.query else url.update_query(heartbeat=HEARTBEAT_S)),
        reconnect_interval=RECONNECT_S,
        graceful_timeout=STOP_ALLOWANCE_S,
        app_id=None,
        middlewares=tracing.start(settings.otel_exporter_otlp_endpoint),
        apply_types=False,  # injection costs more than the rest of FastStream; nothing here is injected
        logger=None,
    )


def _app_from_environment() -> FastStream:
    asked = Invocation.of(sys.argv[1:], os.environ)
    try:
        settings = load_settings(DocumentedSettings if asked.documents else Settings)
        asked.check(settings)
        return create_app(settings)
    except InvalidSettings as error:
        sys.exit("\n".join(f"whatsapp-stream: {line}" for line in str(error).splitlines()))


def __getattr__(name: str) -> FastStream:
    """Build `app` when it is asked for, so that importing this module needs no settings."""
    if name == "app":
        return _app_from_environment()
    raise AttributeError(name)
