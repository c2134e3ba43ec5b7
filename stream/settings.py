"""Settings, all from the environment; durations are in the unit that the name says.

A value that is wrong or contradicts another stops the start with one sentence that names the variable and the fix.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stream.contract.queues import INTAKE_TTL_MS

Milliseconds = Annotated[int, Field(ge=1, le=86_400_000 * 7)]

DEFAULT_CREDENTIALS_PATH: Final = "/api/v1/tenants/{tenant_id}/credentials?type=whatsapp"


class InvalidSettings(Exception):  # noqa: N818 - it is a sentence for an operator
    """A setting is missing, wrong or contradicts another; the text names it and the fix."""


class Settings(BaseSettings):
    """Everything that can be set. Each field is read from the variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    rabbitmq_url: SecretStr = Field(
        default=SecretStr("amqp://guest:guest@localhost:5672/%2Fwhatsapp"),
        description="amqp:// or amqps:// URL; the vhost /whatsapp is written %2Fwhatsapp",
    )
    rabbitmq_prefetch: int = Field(default=10, ge=1, le=10_000, description="messages in flight per replica")
    rabbitmq_queue_type: Literal["classic", "quorum"] = Field(default="classic", description="type of every queue")
    redis_url: SecretStr = Field(
        default=SecretStr("redis://localhost:6379/0"), description="redis:// or rediss:// URL, shared by all replicas"
    )
    tenant_service_url: str = Field(
        default="", validate_default=True, description="base URL of the Tenant Service; required"
    )
    tenant_credentials_path: str = Field(
        default=DEFAULT_CREDENTIALS_PATH, description="path of a tenant's credentials, with {tenant_id} in it"
    )
    tenant_service_token: SecretStr | None = Field(default=None, description="bearer token for the Tenant Service")
    tenant_service_timeout_ms: Milliseconds = Field(default=5_000, description="bound on one attempt, of three")
    meta_api_base_url: str = Field(default="https://graph.facebook.com", description="base URL of the Graph API")
    meta_api_version: str = Field(default="v26.0", description="Graph API version; v18.0 to v20.0 have expired")
    meta_api_timeout_ms: Milliseconds = Field(default=10_000, description="bound on one send")
    meta_api_max_retries: int = Field(default=3, ge=0, le=100, description="retries of a message after its first send")
    meta_api_retry_delay_ms: Milliseconds = Field(default=1_000, description="first backoff delay, doubled each time")
    meta_api_retry_max_delay_ms: Milliseconds = Field(default=60_000, description="longest backoff delay")
    rate_limit_max_retries: int = Field(
        default=10, ge=0, le=1_000, description="retries for throttling, and for an unavailable Tenant Service"
    )
    credential_cache_ttl_ms: Milliseconds = Field(default=900_000, description="how long credentials are cached")
    credential_cache_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="comma-separated Fernet keys; the first encrypts, all decrypt"
    )
    on_unknown_outcome: Literal["retry", "dead-letter"] = Field(
        default="retry", description="after a send without an answer: send again, or leave it to an operator"
    )
    sent_ledger_ttl_ms: int = Field(
        default=172_800_000, description="how long a sent message is remembered; above the queue's 24 h"
    )
    shutdown_grace_ms: Milliseconds = Field(default=15_000, description="how long a stop waits for sends in flight")
    http_host: str = Field(default="0.0.0.0", description="address of the health endpoints")  # noqa: S104 - in a container
    http_port: int = Field(
        default=8081, ge=0, le=65_535, description="port of the health endpoints; 0 takes a free one"
    )
    metrics_tenants: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="tenants with a label of their own in the metrics; the rest is `other`",
    )
    otel_exporter_otlp_endpoint: str = Field(
        default="", description="base URL of an OTLP/HTTP collector, which turns traces on"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="least level logged")

    @field_validator("*", mode="before")
    @classmethod
    def _trim(cls, value: object) -> object:
        """A value from a mounted file ends with a line break."""
        return value.strip() if isinstance(value, str) else value

    @field_validator("credential_cache_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("credential_cache_keys")
    @classmethod
    def _fernet_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for number, key in enumerate(value, start=1):
            try:
                Fernet(key.get_secret_value())
            except ValueError:
                raise ValueError(
                    f"key {number} is not a Fernet key: make one with "
                    'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
                ) from None
        return value

    @field_validator("rabbitmq_url")
    @classmethod
    def _amqp_url(cls, value: SecretStr) -> SecretStr:
        _check_url(value.get_secret_value(), ("amqp", "amqps"))
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr) -> SecretStr:
        _check_url(value.get_secret_value(), ("redis", "rediss"))
        return value

    @field_validator("tenant_service_url", "meta_api_base_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if not value:
            raise ValueError("required: set it to the service's base URL, e.g. http://tenants:3000")
        _check_url(value, ("http", "https"))
        return value

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _otlp_url(cls, value: str) -> str:
        if value:
            _check_url(value, ("http", "https"))
        return value

    @field_validator("tenant_credentials_path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not value.startswith("/") or "{tenant_id}" not in value:
            raise ValueError(f"must start with / and hold {{tenant_id}}, like {DEFAULT_CREDENTIALS_PATH}")
        return value

    @field_validator("meta_api_version")
    @classmethod
    def _version(cls, value: str) -> str:
        if not re.fullmatch(r"v\d{1,3}\.\d{1,2}", value):
            raise ValueError("must look like v26.0")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.meta_api_retry_max_delay_ms < self.meta_api_retry_delay_ms:
            raise ValueError("META_API_RETRY_MAX_DELAY_MS is below META_API_RETRY_DELAY_MS: raise it")
        if self.sent_ledger_ttl_ms < INTAKE_TTL_MS:
            raise ValueError(
                f"SENT_LEDGER_TTL_MS is below {INTAKE_TTL_MS}, the time a message may stay on the queue: raise it"
            )
        if self.shutdown_grace_ms <= self.meta_api_timeout_ms:
            raise ValueError("SHUTDOWN_GRACE_MS is not above META_API_TIMEOUT_MS: a stop would cut sends off; raise it")
        return self

    @property
    def fernet_keys(self) -> list[str]:
        """The cache keys in the clear, for the codec."""
        return [key.get_secret_value() for key in self.credential_cache_keys]


def load_settings(**overrides: Any) -> Settings:
    """Read the environment.

    Raises:
        InvalidSettings: One sentence that names the variable and the fix, never the value.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        problem = first["msg"].removeprefix("Value error, ")
        name = str(first["loc"][0]).upper() if first["loc"] else ""
        raise InvalidSettings(f"{name}: {problem}" if name else problem) from None


def _check_url(value: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text may quote the value, password included
        usable = False
    if not usable:
        raise ValueError(f"must be a URL like {schemes[0]}://host:port/…, with scheme {' or '.join(schemes)}")
