"""Every setting: its type, default, bounds and meaning; durations are in the unit that the name says.

Checks of one value alone are in `stream.settings.checks`, those that compare two of them are here.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stream.contract.delays import LONGEST_S
from stream.contract.headers import OnUnknown
from stream.contract.lanes import DEFAULT_LANES, MOST_LANES
from stream.contract.messages import MESSAGE_MAX_BYTES
from stream.contract.queues import INTAKE_QUEUE, INTAKE_TTL_MS, QueueKind
from stream.delivery.decision import OnTenantFailure
from stream.meta.errors import ROWS
from stream.meta.versions import NEWEST
from stream.observe.logging import Wamids
from stream.retry import JITTER_S
from stream.settings import checks
from stream.tenants.ownership import OwnsNumber
from stream.traffic.circuit import LONGEST_OPEN_MS
from stream.traffic.pace_alone import WithoutRedis

DAY_MS: Final = 86_400_000
# A lower cap would shorten the first delay of these error types.
LEAST_CAP_MS: Final = int(1000 * max(row.retry.base_s or 0 for row in ROWS if row.retry and row.retry.cap_s is None))
LONGEST_CAP_MS: Final = int(1000 * (LONGEST_S - JITTER_S))
LONGEST_LEDGER_MS: Final = 365 * DAY_MS  # a year; Redis refuses numbers beyond 64 bits

Milliseconds = Annotated[int, Field(ge=1, le=7 * DAY_MS)]
Delay = Annotated[int, Field(ge=1, le=LONGEST_CAP_MS)]
HttpUrl = Annotated[str, AfterValidator(checks.http_url)]


class Settings(BaseSettings):
    """Everything that can be set. Each field is read from the variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    rabbitmq_url: Annotated[SecretStr, AfterValidator(checks.amqp_url)] = Field(
        default=SecretStr("amqp://guest:guest@localhost:5672/%2Fwhatsapp"),
        description="amqp:// or amqps:// URL; the vhost /whatsapp is written %2Fwhatsapp; several with commas between "
        "them, or one with several hosts, for a cluster",
    )
    rabbitmq_prefetch: int = Field(
        default=10,
        ge=1,
        le=10_000,
        description="messages of one tenant in flight per replica; of all tenants together at most twice as many",
    )
    intake_queue: Annotated[str, AfterValidator(checks.intake_queue)] = Field(
        default=INTAKE_QUEUE,
        description="queue that messages are taken from; another name makes a shard, which you bind yourself",
    )
    tenant_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="part of a replica's slots for the intake that one tenant alone may hold, one at least; all "
        "where LANES is 0",
    )
    lanes: int = Field(
        default=DEFAULT_LANES,
        ge=0,
        le=MOST_LANES,
        description="queues for messages beyond their tenant's share; 0: one tenant's backlog delays all others",
    )
    message_max_bytes: int = Field(
        default=MESSAGE_MAX_BYTES,
        ge=1024,
        le=128 * 1024 * 1024,
        description="longest body that is read; a longer one is dead-lettered as it is",
    )
    rabbitmq_queue_type: QueueKind = Field(
        default="classic",
        description="type of the intake and `outbound-failed`; the delay levels are always quorum queues",
    )
    redis_url: Annotated[SecretStr, AfterValidator(checks.redis_url)] = Field(
        default=SecretStr("redis://localhost:6379/0"),
        description="redis://, redis+sentinel:// or redis+cluster:// URL, with rediss in place of redis for TLS; "
        "shared by all replicas",
    )
    tenant_service_url: HttpUrl = Field(default="", description="base URL of the Tenant Service; required")
    tenant_credentials_path: Annotated[str, AfterValidator(checks.credentials_path)] = Field(
        default=checks.DEFAULT_CREDENTIALS_PATH, description="path of a tenant's credentials, with {tenant_id} in it"
    )
    tenant_service_token: Annotated[SecretStr | None, AfterValidator(checks.bearer_token)] = Field(
        default=None, description="bearer token for the Tenant Service"
    )
    tenant_service_timeout_ms: Milliseconds = Field(default=5_000, description="bound on one attempt, of three")
    tenant_owns_number: OwnsNumber = Field(
        default="warn",
        description="a message for another number than the tenant's credentials name: "
        "sent with one warning, or dead-lettered",
    )
    meta_api_base_url: HttpUrl = Field(default="https://graph.facebook.com", description="base URL of the Graph API")
    meta_api_version: Annotated[str, AfterValidator(checks.graph_version)] = Field(
        default=NEWEST, description="Graph API version; v20.0 and older have expired"
    )
    meta_api_timeout_ms: Milliseconds = Field(default=10_000, description="bound on one send")
    meta_api_max_retries: int = Field(default=3, ge=0, le=100, description="retries of a message after its first send")
    meta_api_retry_delay_ms: Delay = Field(default=1_000, description="first backoff delay, doubled each time")
    meta_api_retry_max_delay_ms: int = Field(
        default=60_000, description=f"longest backoff delay, from {LEAST_CAP_MS} to {LONGEST_CAP_MS}"
    )
    rate_limit_max_retries: int | None = Field(
        default=None,
        ge=0,
        le=1_000,
        description="retries for throttling, and for an unavailable Tenant Service; unset: as many as fit into the "
        "message's validity, 0: none",
    )
    message_max_age_ms: Milliseconds = Field(
        default=86_400_000,
        description="a message that was first seen so long ago is not sent any more, whatever validity it states",
    )
    circuit_failures: int = Field(
        default=5,
        ge=0,
        le=1_000,
        description="failures in a row that open the circuit of a tenant, phone number or the platform; 0: no circuits",
    )
    circuit_open_ms: int = Field(
        default=60_000,
        ge=1_000,
        le=LONGEST_OPEN_MS,
        description="how long a circuit opens before one message probes; doubled after each probe that fails",
    )
    on_tenant_failure: OnTenantFailure = Field(
        default="dead-letter",
        description="a message that meets an error of its tenant or phone number: dead-lettered, or held until its "
        "circuit closes",
    )
    alert_interval_ms: int = Field(
        default=60_000,
        ge=0,
        le=DAY_MS,
        description="alerts of one tenant and error type are sent once in this time; 0: every one",
    )
    phone_number_rate: float = Field(
        default=80,
        ge=0,
        le=100_000,
        description="messages per second of a phone number, where the tenant's credentials name no limit; 0: no limit",
    )
    pair_interval_ms: int = Field(
        default=6_000, ge=0, le=DAY_MS, description="time between messages of a number to one recipient; 0: no limit"
    )
    pair_burst: int = Field(
        default=45, ge=1, le=1_000, description="messages of a number to one recipient that may be sent at once"
    )
    tenant_rate_per_minute: int = Field(
        default=0, ge=0, le=1_000_000, description="messages per minute of a tenant, as many at once; 0: no limit"
    )
    pacing_without_redis: WithoutRedis = Field(
        default="open",
        description="while Redis is away, each replica keeps the whole limits by itself, or messages wait",
    )
    credential_cache_ttl_ms: Milliseconds = Field(default=900_000, description="how long credentials are cached")
    credential_refusal_ttl_ms: int = Field(
        default=5_000,
        ge=0,
        le=3_600_000,
        description="how long a tenant whose credentials the Tenant Service refused is not asked for again",
    )
    credential_cache_keys: Annotated[tuple[SecretStr, ...], NoDecode, AfterValidator(checks.fernet_keys)] = Field(
        default=(), description="Fernet keys, with commas between them; the first encrypts, all decrypt"
    )
    on_unknown_outcome: OnUnknown = Field(
        default="retry", description="after a send without an answer: send again, or leave it to an operator"
    )
    sent_ledger_ttl_ms: int = Field(
        default=172_800_000, description="how long a sent message is remembered: from the queue's 24 h to a year"
    )
    shutdown_grace_ms: Milliseconds = Field(default=15_000, description="how long a stop waits for sends in flight")
    http_host: str = Field(default="0.0.0.0", description="address of the health endpoints")  # noqa: S104 - in a container
    http_port: int = Field(
        default=8081, ge=0, le=65_535, description="port of the health endpoints; 0 takes a free one"
    )
    operator_token: Annotated[SecretStr | None, AfterValidator(checks.operator_token)] = Field(
        default=None, description="turns on the page `/dead-letters`, which asks for it; unset: there is no page"
    )
    metrics_tenants: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="tenants with a label of their own in the metrics; the rest is `other`",
    )
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(checks.optional_http_url)] = Field(
        default="", description="base URL of an OTLP/HTTP collector, which turns traces on"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="least level logged")
    log_wamid: Wamids = Field(
        default="full",
        description="Meta's message ids in the log: `masked` cuts out the recipient's number, which they encode",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _trim(cls, value: object) -> object:
        """A value from a mounted file ends with a line break."""
        return value.strip() if isinstance(value, str) else value

    @field_validator("credential_cache_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return [part for part in re.split(r"[\s,]+", value) if part] if isinstance(value, str) else value

    @field_validator("rate_limit_max_retries", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("meta_api_retry_max_delay_ms")
    @classmethod
    def _keeps_every_delay(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("meta_api_retry_delay_ms", 0):
            raise ValueError("is below META_API_RETRY_DELAY_MS, the first delay: raise it")
        if value < LEAST_CAP_MS:
            raise ValueError(f"is below {LEAST_CAP_MS}, the longest first delay of an error type: raise it")
        if value > LONGEST_CAP_MS:
            raise ValueError(f"is above {LONGEST_CAP_MS}, the longest wait on the broker: lower it")
        return value

    @field_validator("message_max_age_ms")
    @classmethod
    def _leaves_time_for_a_retry(cls, value: int, info: ValidationInfo) -> int:
        if value <= info.data.get("meta_api_retry_delay_ms", 0):
            raise ValueError("is not above META_API_RETRY_DELAY_MS, so no message could be retried: raise it")
        return value

    @field_validator("on_tenant_failure")
    @classmethod
    def _can_hold(cls, value: str, info: ValidationInfo) -> str:
        if value == "hold" and not info.data.get("circuit_failures", 1):
            raise ValueError(
                "is hold, but CIRCUIT_FAILURES=0 turns off the circuits that it waits for: set one of them"
            )
        return value

    @field_validator("sent_ledger_ttl_ms")
    @classmethod
    def _outlives_the_message(cls, value: int, info: ValidationInfo) -> int:
        if value < INTAKE_TTL_MS:
            raise ValueError(f"is below {INTAKE_TTL_MS}, the time a message may stay on the queue: raise it")
        if value < info.data.get("message_max_age_ms", 0):
            raise ValueError("is below MESSAGE_MAX_AGE_MS, so a message could outlive its record: raise it")
        if value > LONGEST_LEDGER_MS:
            raise ValueError(f"is above {LONGEST_LEDGER_MS}, a year: lower it, since Redis keeps every message so long")
        return value

    @field_validator("shutdown_grace_ms")
    @classmethod
    def _outlives_a_send(cls, value: int, info: ValidationInfo) -> int:
        if value <= info.data.get("meta_api_timeout_ms", 0):
            raise ValueError("is not above META_API_TIMEOUT_MS, so a stop would cut sends off: raise it")
        return value

    @property
    def fernet_keys(self) -> list[str]:
        """The cache keys in the clear, for the codec."""
        return [key.get_secret_value() for key in self.credential_cache_keys]


class DocumentedSettings(Settings):
    """Settings for writing the document only, without a worker: nothing is required."""

    tenant_service_url: HttpUrl = "http://tenants:3000"


# What may come from a file: `RABBITMQ_URL_FILE` and so on.
SECRETS: Final = tuple(name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation))
