"""The composition root: settings → clients → broker → routes. Nothing else builds anything.

Run it with `faststream run stream.app:app`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import httpx
from aiohttp import web
from faststream import FastStream
from faststream.rabbit import RabbitBroker
from faststream.specification import AsyncAPI

from stream.broker.addresses import CONNECT_TIMEOUT_S, Addresses
from stream.broker.connection import BrokerConnection
from stream.broker.depths import QueueDepths
from stream.broker.express import ExpressLane
from stream.broker.frames import queue_all_frames
from stream.broker.handover import Handover
from stream.broker.publishers import declare_publishers
from stream.broker.sorting import Sorting
from stream.broker.topology import Topology
from stream.broker.wire import guard_deliveries
from stream.contract.lanes import lane_names
from stream.contract.queues import DEAD_LETTER_QUEUE
from stream.delivery.admission import Admission
from stream.delivery.alert_interval import AlertInterval
from stream.delivery.circuit_reports import CircuitReports
from stream.delivery.claims import Claims
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
from stream.settings import DocumentedSettings, InvalidSettings, Settings, derived, load_settings
from stream.tenants.cache import CredentialCache
from stream.tenants.client import TenantServiceClient
from stream.tenants.codec import CredentialCodec
from stream.tenants.ownership import NumberOwnership
from stream.tenants.provider import CredentialProvider
from stream.tenants.refusals import Refusals
from stream.traffic.circuits import Circuits
from stream.traffic.open_circuits import OpenCircuits
from stream.traffic.pace_alone import PaceAlone
from stream.traffic.paces import Paces
from stream.traffic.platform import PlatformCircuit
from stream.traffic.shares import Shares
from stream.traffic.slow_downs import SlowDowns
from stream.traffic.transitions import Transitions

HEARTBEAT_S: Final = 6  # a broker that is frozen or cut off is noticed within 24 s. RabbitMQ's default is 60 s
RECONNECT_S: Final = 1.0
STOP_ALLOWANCE_S: Final = 5.0  # for FastStream's own wait, after ours: nothing runs any more then
STUCK_ALLOWANCE_S: Final = 60.0  # a try has a time limit, a publish too; what is older than both will not end


def create_app(settings: Settings, *, documented: bool = False) -> FastStream:
    """Build the application, with the contract's texts if it is to be documented; nothing connects before it runs."""
    worker = build(settings)
    life = Lifecycle(worker, settings)
    specification = _contract() if documented else AsyncAPI()
    app = FastStream(worker.broker, logger=None, lifespan=life.around, specification=specification)

    @app.on_startup
    async def open_intake() -> None:
        await life.open(app)

    app.after_startup(life.started)
    app.on_shutdown(life.drain)
    return app


def _contract() -> AsyncAPI:
    # Its models and texts take 2 MiB, which a worker that runs does not need.
    from stream.specification.document import ContractSpecification  # noqa: PLC0415

    return ContractSpecification()


def build(settings: Settings) -> Worker:
    """Build the worker's parts, room by room, and join them."""
    guard_deliveries()
    queue_all_frames()
    instruments = Instruments(tenants=settings.metrics_tenants)
    metrics = DeliveryMetrics(instruments)
    clients = _clients(settings, instruments)
    rabbitmq = _rabbitmq(settings)
    traffic = _traffic(settings, clients.redis, instruments)
    delivery = _delivery(settings, clients, rabbitmq, traffic, metrics)
    _show(instruments, delivery, clients.redis)
    rabbitmq.broker.include_router(
        build_subscribers(delivery.reading, rabbitmq.topology, prefetch=derived.looked_at(settings))
    )
    return Worker(
        broker=rabbitmq.broker,
        connection=rabbitmq.connection,
        express=rabbitmq.express,
        subscribe_to_lanes=partial(_subscribe_to_lanes, settings, rabbitmq, delivery.reading),
        admission=delivery.admission,
        sorting=_sorting(settings, rabbitmq.connection, delivery),
        in_flight=delivery.in_flight,
        health=_health(settings, clients.redis, rabbitmq.connection, traffic.platform, delivery, instruments, metrics),
        platform=traffic.platform,
        redis=clients.redis,
        graph_http=clients.graph_http,
        tenant_http=clients.tenant_http,
        bound_s=derived.bound_s(settings),
    )


# The services that are asked.


@dataclass(frozen=True, slots=True)
class _Clients:
    """Clients of the services that the worker asks, except RabbitMQ."""

    redis: RedisLink
    graph_http: HonestTransport
    tenant_http: httpx.AsyncClient


def _clients(settings: Settings, instruments: Instruments) -> _Clients:
    refused = instruments.counter("redis_refused_total")
    # Half of the connections are for fetches that a message waits for, half for fetches that no message waits for.
    tenant_transport = HonestTransport(4 * settings.rabbitmq_prefetch)
    return _Clients(
        redis=RedisLink(connect(settings.redis_url.get_secret_value()), on_refused=refused.inc),
        graph_http=HonestTransport(2 * settings.rabbitmq_prefetch, connect_s=derived.connect_s(settings)),
        tenant_http=httpx.AsyncClient(transport=tenant_transport, timeout=None),  # noqa: S113 - the client bounds each attempt
    )


# RabbitMQ.


@dataclass(frozen=True, slots=True)
class _RabbitMQ:
    """The connection to RabbitMQ, and what goes over it beside messages that are taken."""

    broker: RabbitBroker
    topology: Topology
    connection: BrokerConnection
    express: ExpressLane


def _rabbitmq(settings: Settings) -> _RabbitMQ:
    addresses = Addresses(settings.rabbitmq_url.get_secret_value())
    broker = _broker(settings, addresses)
    topology = Topology(settings.rabbitmq_queue_type, settings.lanes, settings.intake_queue)
    return _RabbitMQ(broker, topology, BrokerConnection(broker, addresses, topology=topology), ExpressLane())


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


# Traffic: when a message may go.


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
    rules = derived.rules(settings)
    platform = PlatformCircuit(redis, rules, transitions)
    for scope in platform.open_circuits:
        instruments.show("circuits_open", partial(platform.open_circuits.__getitem__, scope), scope=scope)
    circuits = Circuits(redis, rules, transitions, OpenCircuits(redis))
    alone = PaceAlone(settings.pacing_without_redis, instruments.counter("pacing_without_redis_total").inc)
    return _Traffic(circuits, platform, transitions, alone)


# Delivery: a message's journey.


@dataclass(frozen=True, slots=True)
class _Delivery:
    """What brings deliveries to their end."""

    reading: Reading
    admission: Admission
    in_flight: InFlight
    settlement: Settlement


def _delivery(
    settings: Settings, clients: _Clients, rabbitmq: _RabbitMQ, traffic: _Traffic, metrics: DeliveryMetrics
) -> _Delivery:
    in_flight, unpublished = InFlight(), UnpublishedWaits(clients.redis)
    settlement = Settlement(
        Handover(),
        rabbitmq.express,
        unpublished,
        AlertInterval(clients.redis, interval_ms=settings.alert_interval_ms),
        intake=settings.intake_queue,
        mend_topology=rabbitmq.connection.mend,
        metrics=metrics,
    )
    journey = Journey(
        _processor(settings, clients, traffic, metrics),
        settlement,
        policy=derived.retry_policy(settings),
        guard=PoisonGuard(clients.redis, bound_s=derived.bound_s(settings)),
        unpublished=unpublished,
        metrics=metrics,
        tried=in_flight.tried,
    )
    shares = Shares(settings.rabbitmq_prefetch, derived.tenant_share(settings))
    admission = Admission(journey, in_flight, shares, lanes=lane_names(settings.lanes, settings.intake_queue))
    return _Delivery(Reading(admission, derived.limits(settings)), admission, in_flight, settlement)


def _processor(settings: Settings, clients: _Clients, traffic: _Traffic, metrics: DeliveryMetrics) -> MessageProcessor:
    credentials = _credentials(settings, clients, traffic.circuits)
    return MessageProcessor(
        credentials=credentials,
        claims=_claims(settings, clients.redis, traffic.alone),
        paces=Paces(derived.rates(settings), credentials.messages_per_second),
        ledger=SentLedger(clients.redis, ttl_ms=settings.sent_ledger_ttl_ms, on_unrecorded=metrics.unrecorded),
        graph=GraphClient(
            clients.graph_http,
            base_url=settings.meta_api_base_url,
            version=settings.meta_api_version,
            timeout_s=derived.send_s(settings),
            classifier=MetaErrorClassifier(),
        ),
        circuits=CircuitReports(traffic.circuits, traffic.platform, traffic.transitions, hold=derived.holds(settings)),
        slow_downs=SlowDowns(clients.redis, traffic.alone),
        on_unknown=settings.on_unknown_outcome,
        metrics=metrics,
        bound_s=derived.bound_s(settings),
    )


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


def _claims(settings: Settings, redis: RedisLink, alone: PaceAlone) -> Claims:
    return Claims(
        redis,
        replica=f"{socket.gethostname()}:{os.getpid()}",
        lease_s=derived.lease_s(settings),
        ttl_ms=settings.sent_ledger_ttl_ms,
        most_doubts=settings.meta_api_max_retries,
        alone=alone,
    )


def _sorting(settings: Settings, connection: BrokerConnection, delivery: _Delivery) -> Sorting:
    return Sorting(
        lambda: connection.underlay,
        intake=settings.intake_queue,
        moves=lambda: delivery.admission.moves,
        sort=Sorter(delivery.admission, delivery.settlement).sort,
        pass_on=delivery.reading.receiver(),
    )


def _subscribe_to_lanes(settings: Settings, rabbitmq: _RabbitMQ, reading: Reading) -> None:
    lanes = build_lane_subscribers(reading, rabbitmq.connection.lanes, prefetch=settings.rabbitmq_prefetch)
    rabbitmq.broker.include_router(lanes)


# The HTTP port, and what it shows.


def _show(instruments: Instruments, delivery: _Delivery, redis: RedisLink) -> None:
    instruments.show("tenants_laned", lambda: delivery.admission.laned)
    instruments.show("messages_in_flight", lambda: len(delivery.in_flight))
    instruments.show("message_oldest_age_seconds", delivery.in_flight.oldest_message_s)
    instruments.show("redis_away", lambda: redis.away)


def _health(
    settings: Settings,
    redis: RedisLink,
    connection: BrokerConnection,
    platform: PlatformCircuit,
    delivery: _Delivery,
    instruments: Instruments,
    metrics: DeliveryMetrics,
) -> HealthServer:
    depths = QueueDepths(
        lambda: connection.robust,
        intake=settings.intake_queue,
        lanes=lambda: [lane.name for lane in connection.lanes],
    )
    longest_try_s = derived.bound_s(settings) + STUCK_ALLOWANCE_S
    # A worker that goes home consumes nothing until it has finished what is in flight.
    longest_pause_s = settings.shutdown_grace_ms / 1000 + STUCK_ALLOWANCE_S
    return HealthServer(
        settings.http_host,
        settings.http_port,
        status=_status(settings, connection, depths, redis, platform, metrics).read,
        ready=lambda: connection.consuming,
        alive=lambda: delivery.in_flight.oldest_s() < longest_try_s and connection.stuck_s() < longest_pause_s,
        metrics=lambda: instruments.scrape(depths.read),
        queues=lambda: connection.queue_arguments,
        add_page=_page(settings, connection, redis),
    )


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
        max_age=derived.limits(settings).max_age,
        whole=lambda: connection.queue_arguments[DEAD_LETTER_QUEUE].get("x-queue-type") == "quorum",
    )
    return DeadLettersPage(settings.operator_token.get_secret_value(), FreshSnapshot(taking.take)).add_to


# The command line.


def _app_from_environment() -> FastStream:
    asked = Invocation.of(sys.argv[1:], os.environ)
    try:
        settings = load_settings(DocumentedSettings if asked.documents else Settings)
        asked.check(settings)
        return create_app(settings, documented=asked.documents)
    except InvalidSettings as error:
        sys.exit("\n".join(f"whatsapp-stream: {line}" for line in str(error).splitlines()))


def __getattr__(name: str) -> FastStream:
    """Build `app` when it is asked for, so that importing this module needs no settings."""
    if name == "app":
        return _app_from_environment()
    raise AttributeError(name)
