"""The composition root: settings → clients → broker → routes. Nothing else builds anything.

Run it with `faststream run stream.app:app`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

import httpx
from aiohttp import web
from faststream import FastStream
from faststream.rabbit import RabbitBroker, RabbitRouter

from stream.broker.addresses import CONNECT_TIMEOUT_S, Addresses
from stream.broker.connection import BrokerConnection
from stream.broker.depths import QueueDepths
from stream.broker.express import ExpressLane
from stream.broker.handover import Handover
from stream.broker.publishers import declare_publishers
from stream.broker.sorting import Sorting
from stream.broker.topology import Topology
from stream.broker.wire import guard_deliveries
from stream.contract.lanes import lane_names
from stream.contract.queues import DEAD_LETTER_QUEUE
from stream.delivery.admission import Admission
from stream.delivery.alert_interval import AlertInterval
from stream.delivery.arrival import Limits
from stream.delivery.circuit_reports import CircuitReports
from stream.delivery.claims import Claims
from stream.delivery.decision import RetryPolicy
from stream.delivery.inflight import InFlight
from stream.delivery.journey import Journey
from stream.delivery.ledger import SentLedger
from stream.delivery.metrics import DeliveryMetrics
from stream.delivery.poison import PoisonGuard
from stream.delivery.processor import MessageProcessor
from stream.delivery.settlement import Settlement
from stream.delivery.sorter import Sorter
from stream.delivery.subscriber import Reading, build_lane_subscribers, build_subscribers
from stream.delivery.unpublished import UnpublishedWaits
from stream.lifecycle import Lifecycle, Worker
from stream.meta.classifier import MetaErrorClassifier
from stream.meta.client import GraphClient
from stream.meta.transport import HonestTransport
from stream.observe import tracing
from stream.observe.health import HealthServer
from stream.observe.instruments import Instruments
from stream.observe.status import Dependency, Status, reachable
from stream.operations.invocation import Invocation
from stream.redis.client import connect
from stream.redis.link import RedisLink
from stream.retry import RetryHandler
from stream.settings import DocumentedSettings, InvalidSettings, Settings, load_settings
from stream.specification.document import ContractSpecification
from stream.tenants.cache import CredentialCache
from stream.tenants.client import TenantServiceClient
from stream.tenants.codec import CredentialCodec
from stream.tenants.ownership import NumberOwnership
from stream.tenants.provider import PATIENCE_S, CredentialProvider
from stream.tenants.refusals import Refusals
from stream.traffic.circuit import Rules
from stream.traffic.circuits import Circuits
from stream.traffic.open_circuits import OpenCircuits
from stream.traffic.pace_alone import PaceAlone
from stream.traffic.paces import Paces, Rates
from stream.traffic.platform import PlatformCircuit
from stream.traffic.shares import Shares
from stream.traffic.slow_downs import SlowDowns
from stream.traffic.transitions import Transitions

HEARTBEAT_S: Final = 6  # a broker that is frozen or cut off is noticed within 24 s. RabbitMQ's default is 60 s
RECONNECT_S: Final = 1.0
CONNECT_SHARE: Final = 0.5  # of META_API_TIMEOUT_MS: so a connect that hangs differs from an answer that hangs
LEASE_MARGIN_S: Final = 5.0  # a lease is this much longer than the longest send: it only ends if the replica has died
STOP_ALLOWANCE_S: Final = 5.0  # for FastStream's own wait, after ours: nothing runs any more then
STUCK_ALLOWANCE_S: Final = 60.0  # a try has a time limit, a publish too; what is older than both will not end
INTAKE_AHEAD: Final = 2  # times the slots: at most one and a half are in flight, the rest is looked at and sorted
BOUND_MARGIN_S: Final = 5.0  # added to the time of two sends and two waits for credentials, the most that a try makes


def create_app(settings: Settings) -> FastStream:
    """Build the application; nothing connects before it runs."""
    worker = build(settings)
    life = Lifecycle(worker, settings)
    app = FastStream(worker.broker, logger=None, lifespan=life.around, specification=ContractSpecification())

    @app.on_startup
    async def open_intake() -> None:
        await life.open(app)

    app.after_startup(life.started)
    app.on_shutdown(life.drain)
    return app


def build(settings: Settings) -> Worker:
    """Build the worker's parts and join them."""
    guard_deliveries()
    instruments = Instruments(tenants=settings.metrics_tenants)
    metrics = DeliveryMetrics(instruments)
    clients = _clients(settings, instruments)
    addresses = Addresses(settings.rabbitmq_url.get_secret_value())
    broker = _broker(settings, addresses)
    topology = Topology(settings.rabbitmq_queue_type, settings.lanes, settings.intake_queue)
    connection = BrokerConnection(broker, addresses, topology=topology)
    in_flight, express = InFlight(), ExpressLane()
    traffic = _traffic(settings, clients.redis, instruments)
    processor = _processor(settings, clients, traffic, metrics)
    unpublished = UnpublishedWaits(clients.redis)
    alerts = AlertInterval(clients.redis, interval_ms=settings.alert_interval_ms)
    settlement = _settlement(settings, unpublished, alerts, connection, express, metrics)
    journey = _journey(settings, clients.redis, processor, settlement, unpublished, in_flight, metrics)
    admission = _admission(settings, journey, in_flight)
    instruments.show("tenants_laned", lambda: admission.laned)
    reading = _reading(settings, admission)
    broker.include_router(_subscribers(settings, topology, reading))
    return Worker(
        broker=broker,
        connection=connection,
        express=express,
        subscribe_to_lanes=lambda: broker.include_router(_lane_subscribers(settings, connection, reading)),
        admission=admission,
        sorting=_sorting(settings, connection, admission, settlement, reading),
        in_flight=in_flight,
        health=_health(settings, connection, in_flight, clients.redis, traffic.platform, instruments, metrics),
        platform=traffic.platform,
        redis=clients.redis,
        graph_http=clients.graph_http,
        tenant_http=clients.tenant_http,
        bound_s=_bound_s(settings),
    )


@dataclass(frozen=True, slots=True)
class _Clients:
    """Clients of the services that the worker asks, except RabbitMQ."""

    redis: RedisLink
    graph_http: HonestTransport
    tenant_http: httpx.AsyncClient


def _clients(settings: Settings, instruments: Instruments) -> _Clients:
    refused = instruments.counter("redis_refused_total")
    connect_s = settings.meta_api_timeout_ms / 1000 * CONNECT_SHARE
    # Half of the connections are for fetches that a message waits for, half for fetches that no message waits for.
    tenant_transport = HonestTransport(4 * settings.rabbitmq_prefetch)
    return _Clients(
        redis=RedisLink(connect(settings.redis_url.get_secret_value()), on_refused=refused.inc),
        graph_http=HonestTransport(2 * settings.rabbitmq_prefetch, connect_s=connect_s),
        tenant_http=httpx.AsyncClient(transport=tenant_transport, timeout=None),  # noqa: S113 - the client bounds each attempt
    )


def _broker(settings: Settings, addresses: Addresses) -> RabbitBroker:
    url = addresses.url
    broker = RabbitBroker(
        str(url if "heartbeat" in url.query else url.update_query(heartbeat=HEARTBEAT_S)),
        timeout=CONNECT_TIMEOUT_S,
        reconnect_interval=RECONNECT_S,
        graceful_timeout=STOP_ALLOWANCE_S,
        app_id=None,
        middlewares=traces(settings.otel_exporter_otlp_endpoint, settings.intake_queue),
        apply_types=False,  # injection costs more than the rest of FastStream; nothing here is injected
        logger=None,
    )
    addresses.lead(broker)
    declare_publishers(broker)
    return broker


def traces(endpoint: str, intake: str) -> tuple[Any, ...]:
    """Start to trace, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

    Args:
        endpoint: Its value.
        intake: `INTAKE_QUEUE`.

    Returns:
        The middlewares that the broker needs for it.

    Raises:
        InvalidSettings: The packages of the extra `otel` are not installed.
    """
    if not endpoint:
        return ()
    try:
        from stream.observe.telemetry import Telemetry  # noqa: PLC0415 - slow to import, and needed for traces only
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise InvalidSettings(
            "OTEL_EXPORTER_OTLP_ENDPOINT: traces need packages that are not installed: "
            "install whatsapp-stream[otel], or unset the variable"
        ) from None
    telemetry = Telemetry.to(endpoint, intake)
    tracing.start(telemetry)
    return (telemetry.middleware(),)


@dataclass(frozen=True, slots=True)
class _Traffic:
    """What says when a message may go."""

    circuits: Circuits
    platform: PlatformCircuit
    transitions: Transitions
    alone: PaceAlone


def _traffic(settings: Settings, redis: RedisLink, instruments: Instruments) -> _Traffic:
    counted = instruments.counter("circuit_transitions_total")
    transitions = Transitions(lambda scope, to: counted.labels(scope, to).inc())
    rules = Rules(settings.circuit_failures, settings.circuit_open_ms, lease_ms=int(_lease_s(settings) * 1000))
    platform = PlatformCircuit(redis, rules, transitions)
    for scope in platform.open_circuits:
        instruments.show("circuits_open", partial(platform.open_circuits.__getitem__, scope), scope=scope)
    circuits = Circuits(redis, rules, transitions, OpenCircuits(redis))
    alone = PaceAlone(settings.pacing_without_redis, instruments.counter("pacing_without_redis_total").inc)
    return _Traffic(circuits, platform, transitions, alone)


def _processor(settings: Settings, clients: _Clients, traffic: _Traffic, metrics: DeliveryMetrics) -> MessageProcessor:
    credentials = _credentials(settings, clients, traffic.circuits)
    return MessageProcessor(
        credentials=credentials,
        claims=_claims(settings, clients.redis, traffic.alone),
        paces=Paces(_rates(settings), credentials.messages_per_second),
        ledger=SentLedger(clients.redis, ttl_ms=settings.sent_ledger_ttl_ms, on_unrecorded=metrics.unrecorded),
        graph=GraphClient(
            clients.graph_http,
            base_url=settings.meta_api_base_url,
            version=settings.meta_api_version,
            timeout_s=settings.meta_api_timeout_ms / 1000,
            classifier=MetaErrorClassifier(),
        ),
        circuits=CircuitReports(
            traffic.circuits, traffic.platform, traffic.transitions, hold=settings.on_tenant_failure == "hold"
        ),
        slow_downs=SlowDowns(clients.redis, traffic.alone),
        on_unknown=settings.on_unknown_outcome,
        metrics=metrics,
        bound_s=_bound_s(settings),
    )


def _rates(settings: Settings) -> Rates:
    return Rates(
        number_per_s=settings.phone_number_rate,
        tenant_per_minute=settings.tenant_rate_per_minute,
        pair_interval_ms=settings.pair_interval_ms,
        pair_burst=settings.pair_burst,
    )


def _bound_s(settings: Settings) -> float:
    """How long a try may take, in seconds."""
    return 2 * (settings.meta_api_timeout_ms / 1000 + PATIENCE_S) + BOUND_MARGIN_S


def _credentials(settings: Settings, clients: _Clients, circuits: Circuits) -> CredentialProvider:
    token = settings.tenant_service_token
    tenant_service = TenantServiceClient(
        clients.tenant_http,
        base_url=settings.tenant_service_url,
        path=settings.tenant_credentials_path,
        service_token=token.get_secret_value() if token else None,
        timeout_s=settings.tenant_service_timeout_ms / 1000,
        ttl_ms=settings.credential_cache_ttl_ms,
        retry=RetryHandler(),
    )
    cache = CredentialCache(clients.redis, CredentialCodec(settings.fernet_keys))
    ownership = NumberOwnership(settings.tenant_owns_number)
    return CredentialProvider(
        cache,
        tenant_service,
        ownership,
        Refusals(clients.redis, ttl_ms=settings.credential_refusal_ttl_ms),
        on_stored=circuits.token_stored,
        places=2 * settings.rabbitmq_prefetch,
    )


def _lease_s(settings: Settings) -> float:
    """How long a claim, and a probe of a circuit, last, in seconds."""
    return settings.meta_api_timeout_ms / 1000 + LEASE_MARGIN_S


def _claims(settings: Settings, redis: RedisLink, alone: PaceAlone) -> Claims:
    return Claims(
        redis,
        replica=f"{socket.gethostname()}:{os.getpid()}",
        lease_s=_lease_s(settings),
        ttl_ms=settings.sent_ledger_ttl_ms,
        most_doubts=settings.meta_api_max_retries,
        alone=alone,
    )


def _settlement(
    settings: Settings,
    unpublished: UnpublishedWaits,
    alerts: AlertInterval,
    connection: BrokerConnection,
    express: ExpressLane,
    metrics: DeliveryMetrics,
) -> Settlement:
    return Settlement(
        Handover(),
        express,
        unpublished,
        alerts,
        intake=settings.intake_queue,
        mend_topology=connection.mend,
        metrics=metrics,
    )


def _journey(
    settings: Settings,
    redis: RedisLink,
    processor: MessageProcessor,
    settlement: Settlement,
    unpublished: UnpublishedWaits,
    in_flight: InFlight,
    metrics: DeliveryMetrics,
) -> Journey:
    return Journey(
        processor,
        settlement,
        policy=_policy(settings),
        guard=PoisonGuard(redis, bound_s=_bound_s(settings)),
        unpublished=unpublished,
        metrics=metrics,
        tried=in_flight.tried,
    )


def _policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(
        failures=settings.meta_api_max_retries,
        throttles=settings.rate_limit_max_retries,
        backoff=RetryHandler(
            base_delay_s=settings.meta_api_retry_delay_ms / 1000, cap_s=settings.meta_api_retry_max_delay_ms / 1000
        ),
        hold=settings.on_tenant_failure == "hold",
    )


def _admission(settings: Settings, journey: Journey, in_flight: InFlight) -> Admission:
    # Without lanes there is no way past a tenant's backlog: then a share would only leave slots empty.
    share = settings.tenant_share if settings.lanes else 1.0
    shares = Shares(settings.rabbitmq_prefetch, share)
    return Admission(journey, in_flight, shares, lanes=lane_names(settings.lanes, settings.intake_queue))


def _reading(settings: Settings, admission: Admission) -> Reading:
    max_age = timedelta(milliseconds=settings.message_max_age_ms)
    return Reading(admission, Limits(settings.message_max_bytes, max_age))


def _sorting(
    settings: Settings,
    connection: BrokerConnection,
    admission: Admission,
    settlement: Settlement,
    reading: Reading,
) -> Sorting:
    return Sorting(
        lambda: connection.underlay,
        intake=settings.intake_queue,
        moves=lambda: admission.moves,
        sort=Sorter(admission, settlement).sort,
        pass_on=reading.receive,
    )


def _subscribers(settings: Settings, topology: Topology, reading: Reading) -> RabbitRouter:
    looked_at = settings.rabbitmq_prefetch * (INTAKE_AHEAD if settings.lanes else 1)
    return build_subscribers(reading, topology, prefetch=looked_at)


def _lane_subscribers(settings: Settings, connection: BrokerConnection, reading: Reading) -> RabbitRouter:
    return build_lane_subscribers(reading, connection.lanes, prefetch=settings.rabbitmq_prefetch)


def _health(
    settings: Settings,
    connection: BrokerConnection,
    in_flight: InFlight,
    redis: RedisLink,
    platform: PlatformCircuit,
    instruments: Instruments,
    metrics: DeliveryMetrics,
) -> HealthServer:
    _show(instruments, in_flight, redis)
    depths = QueueDepths(
        lambda: connection.robust,
        intake=settings.intake_queue,
        lanes=lambda: [lane.name for lane in connection.lanes],
    )
    longest_try_s = _bound_s(settings) + STUCK_ALLOWANCE_S
    return HealthServer(
        settings.http_host,
        settings.http_port,
        status=_status(settings, connection, depths, redis, platform, metrics).read,
        ready=lambda: connection.consuming,
        alive=lambda: in_flight.oldest_s() < longest_try_s and connection.stuck_s() < STUCK_ALLOWANCE_S,
        metrics=lambda: instruments.scrape(depths.read),
        queues=lambda: connection.queue_arguments,
        add_page=_page(settings, connection, redis),
    )


def _page(settings: Settings, connection: BrokerConnection, redis: RedisLink) -> Callable[[web.UrlDispatcher], None]:
    """What adds the page `/dead-letters`, if there is to be one."""
    if settings.operator_token is None:
        return lambda _: None
    # They bring the commands' packages along, which a worker without the page does not need.
    from stream.operations.page.fresh import FreshSnapshot  # noqa: PLC0415
    from stream.operations.page.route import DeadLettersPage  # noqa: PLC0415
    from stream.operations.page.taking import Taking  # noqa: PLC0415

    taking = Taking(
        settings.rabbitmq_url.get_secret_value(),
        redis,
        max_age=timedelta(milliseconds=settings.message_max_age_ms),
        whole=lambda: connection.queue_arguments[DEAD_LETTER_QUEUE].get("x-queue-type") == "quorum",
    )
    return DeadLettersPage(settings.operator_token.get_secret_value(), FreshSnapshot(taking.take)).add_to


def _show(instruments: Instruments, in_flight: InFlight, redis: RedisLink) -> None:
    instruments.show("messages_in_flight", lambda: len(in_flight))
    instruments.show("message_oldest_age_seconds", in_flight.oldest_message_s)
    instruments.show("redis_away", lambda: redis.away)


def _status(
    settings: Settings,
    connection: BrokerConnection,
    depths: QueueDepths,
    redis: RedisLink,
    platform: PlatformCircuit,
    metrics: DeliveryMetrics,
) -> Status:
    return Status(
        (
            Dependency("rabbitmq", required=True, probe=depths.probe, address=lambda: connection.address),
            Dependency("redis", required=False, probe=redis.redis.ping),
            Dependency("tenantService", required=False, probe=lambda: reachable(settings.tenant_service_url)),
            Dependency("metaApi", required=True, probe=lambda: reachable(settings.meta_api_base_url)),
        ),
        consuming=lambda: connection.consuming,
        circuits=lambda: platform.open_circuits,
        rates=metrics.last_minute.rates,
        queues=depths.read,
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
