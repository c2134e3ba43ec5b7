from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from stream.settings import InvalidSettings, Settings, load_settings

NEW, OLD = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("TENANT_SERVICE_URL", "http://tenants:3000")
    return monkeypatch


def loaded(environment: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        environment.setenv(name, value)
    return load_settings()


def refused(environment: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(InvalidSettings) as caught:
        loaded(environment, **variables)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rabbitmq_url", "amqp://guest:guest@localhost:5672/%2Fwhatsapp"),
        ("rabbitmq_prefetch", 10),
        ("rabbitmq_queue_type", "classic"),
        ("redis_url", "redis://localhost:6379/0"),
        ("tenant_credentials_path", "/api/v1/tenants/{tenant_id}/credentials?type=whatsapp"),
        ("tenant_service_token", None),
        ("tenant_service_timeout_ms", 5_000),
        ("meta_api_base_url", "https://graph.facebook.com"),
        ("meta_api_version", "v26.0"),
        ("meta_api_timeout_ms", 10_000),
        ("meta_api_max_retries", 3),
        ("meta_api_retry_delay_ms", 1_000),
        ("rate_limit_max_retries", 10),
        ("credential_cache_ttl_ms", 900_000),
        ("fernet_keys", []),
        ("on_unknown_outcome", "retry"),
        ("sent_ledger_ttl_ms", 172_800_000),
        ("http_port", 8081),
        ("otel_exporter_otlp_endpoint", ""),
        ("log_level", "INFO"),
    ],
)
def test_a_setting_has_its_default(environment: pytest.MonkeyPatch, name: str, value: object) -> None:
    default = getattr(loaded(environment), name)
    assert (default.get_secret_value() if isinstance(default, SecretStr) else default) == value


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("RABBITMQ_URL", "amqps://user:pw@rabbit:5671/%2Fwhatsapp?heartbeat=30", None),
        ("RABBITMQ_PREFETCH", "50", 50),
        ("RABBITMQ_QUEUE_TYPE", "quorum", "quorum"),
        ("REDIS_URL", "rediss://:pw@redis:6380/1", None),
        ("TENANT_SERVICE_URL", "https://tenants.example/base/", "https://tenants.example/base/"),
        ("TENANT_CREDENTIALS_PATH", "/tenants/{tenant_id}/credentials/meta", "/tenants/{tenant_id}/credentials/meta"),
        ("META_API_VERSION", "v25.0", "v25.0"),
        ("META_API_MAX_RETRIES", "0", 0),
        ("HTTP_PORT", "0", 0),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318", "http://collector:4318"),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("CREDENTIAL_CACHE_KEYS", "", ()),
    ],
)
def test_a_setting_is_read_from_its_variable(
    environment: pytest.MonkeyPatch, variable: str, text: str, value: object
) -> None:
    read = getattr(loaded(environment, **{variable: text}), variable.lower())
    assert read == (SecretStr(text) if isinstance(read, SecretStr) else value)


def test_keys_are_separated_by_commas_and_the_first_is_first(environment: pytest.MonkeyPatch) -> None:
    assert loaded(environment, CREDENTIAL_CACHE_KEYS=f"{NEW}, {OLD},").fernet_keys == [NEW, OLD]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RABBITMQ_URL", ""),
        ("RABBITMQ_URL", "http://rabbit"),
        ("RABBITMQ_URL", "amqp://"),
        ("RABBITMQ_URL", "amqp://rabbit:port/%2Fwhatsapp"),
        ("RABBITMQ_PREFETCH", "0"),
        ("RABBITMQ_PREFETCH", "many"),
        ("RABBITMQ_QUEUE_TYPE", "stream"),
        ("REDIS_URL", "localhost:6379"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317"),
        ("REDIS_URL", "redis://localhost:99999"),
        ("TENANT_SERVICE_URL", ""),
        ("TENANT_SERVICE_URL", "tenants:3000"),
        ("TENANT_SERVICE_URL", "ftp://tenants"),
        ("TENANT_SERVICE_URL", "http://tenants:port"),
        ("TENANT_SERVICE_URL", "http://[::1"),
        ("TENANT_CREDENTIALS_PATH", "/tenants/credentials"),
        ("TENANT_CREDENTIALS_PATH", "tenants/{tenant_id}"),
        ("TENANT_SERVICE_TIMEOUT_MS", "0"),
        ("TENANT_SERVICE_TIMEOUT_MS", "5s"),
        ("META_API_BASE_URL", "graph.facebook.com"),
        ("META_API_VERSION", "26.0"),
        ("META_API_VERSION", "v26"),
        ("META_API_VERSION", "v26.0/../me"),
        ("META_API_TIMEOUT_MS", "-1"),
        ("META_API_MAX_RETRIES", "-1"),
        ("META_API_RETRY_DELAY_MS", "1.5"),
        ("RATE_LIMIT_MAX_RETRIES", "-1"),
        ("CREDENTIAL_CACHE_TTL_MS", "0"),
        ("CREDENTIAL_CACHE_TTL_MS", str(10**15)),
        ("CREDENTIAL_CACHE_KEYS", "not-a-key"),
        ("ON_UNKNOWN_OUTCOME", "guess"),
        ("SENT_LEDGER_TTL_MS", "two days"),
        ("SHUTDOWN_GRACE_MS", "0"),
        ("HTTP_PORT", "70000"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_variable(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    sentence = refused(environment, **{variable: value})
    assert sentence.startswith(f"{variable}: ")
    assert len(sentence) > len(variable) + 10
    assert "\n" not in sentence


def test_the_tenant_services_url_is_required(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("TENANT_SERVICE_URL")
    assert refused(environment).startswith("TENANT_SERVICE_URL: ")


def test_the_bad_one_of_two_keys_is_counted(environment: pytest.MonkeyPatch) -> None:
    assert "key 2" in refused(environment, CREDENTIAL_CACHE_KEYS=f"{NEW},nonsense")


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({"META_API_TIMEOUT_MS": "20000"}, ("SHUTDOWN_GRACE_MS", "META_API_TIMEOUT_MS")),
        ({"SHUTDOWN_GRACE_MS": "10000"}, ("SHUTDOWN_GRACE_MS", "META_API_TIMEOUT_MS")),
        (
            {"META_API_RETRY_DELAY_MS": "5000", "META_API_RETRY_MAX_DELAY_MS": "4000"},
            ("META_API_RETRY_DELAY_MS", "META_API_RETRY_MAX_DELAY_MS"),
        ),
    ],
)
def test_a_contradiction_names_both_variables(
    environment: pytest.MonkeyPatch, variables: dict[str, str], names: tuple[str, str]
) -> None:
    sentence = refused(environment, **variables)
    assert all(name in sentence for name in names)
    assert "raise it" in sentence


SECRETS: dict[str, Any] = {
    "RABBITMQ_URL": "amqp://guest:s3cret@rabbit:5672/%2Fwhatsapp",
    "REDIS_URL": "redis://:s3cret@redis:6379/0",
    "TENANT_SERVICE_TOKEN": "s3cret",
    "CREDENTIAL_CACHE_KEYS": NEW,
}


def test_no_secret_is_shown(environment: pytest.MonkeyPatch) -> None:
    settings = loaded(environment, **SECRETS)
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "s3cret" not in shown
        assert NEW not in shown


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RABBITMQ_URL", "http://guest:s3cret@rabbit"),
        ("RABBITMQ_URL", "amqp://guest:s3cret\u2100@rabbit"),
        ("REDIS_URL", "://:s3cret@redis"),
        ("REDIS_URL", "redis://:s3cret\u2100@redis"),
        ("CREDENTIAL_CACHE_KEYS", "s3cret"),
        ("TENANT_SERVICE_URL", "ftp://user:s3cret@tenants"),
        ("TENANT_SERVICE_URL", "http://user:s3cret\u2100@tenants"),
        ("LOG_LEVEL", "s3cret"),
        ("RABBITMQ_PREFETCH", "s3cret"),
    ],
)
def test_a_refused_value_is_not_repeated(environment: pytest.MonkeyPatch, variable: str, value: str) -> None:
    assert "s3cret" not in refused(environment, **{variable: value})


@pytest.mark.parametrize("variable", ["TENANT_SERVICE_TOKEN", "TENANT_SERVICE_URL", "META_API_BASE_URL"])
def test_a_line_break_from_a_mounted_file_reaches_no_request(environment: pytest.MonkeyPatch, variable: str) -> None:
    values = {"TENANT_SERVICE_TOKEN": "s3cret\n"}
    try:
        read = getattr(
            loaded(environment, **{variable: values.get(variable, "http://service:3000\n")}), variable.lower()
        )
    except InvalidSettings as error:
        assert str(error).startswith(f"{variable}: ")  # noqa: PT017 - refusing it is as good as cutting it off
    else:
        assert "\n" not in (read.get_secret_value() if isinstance(read, SecretStr) else read)
