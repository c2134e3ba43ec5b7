from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis.asyncio import Redis

from stream.contract.delays import LONGEST_S
from stream.meta.errors import ROWS
from stream.redis.client import connect
from stream.retry import RetryHandler
from stream.settings import DocumentedSettings, InvalidSettings, Settings, load_settings
from stream.settings.model import LEAST_CAP_MS, LONGEST_CAP_MS
from stream.settings.model import SECRETS as SECRET_FIELDS
from stream.settings.secret_files import file_variable

NEW, OLD = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(file_variable(name.upper()), raising=False)
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
        ("intake_queue", "outbound-processed"),
        ("message_max_bytes", 1_048_576),
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
        ("rate_limit_max_retries", None),
        ("message_max_age_ms", 86_400_000),
        ("circuit_failures", 5),
        ("circuit_open_ms", 60_000),
        ("on_tenant_failure", "dead-letter"),
        ("alert_interval_ms", 60_000),
        ("credential_cache_ttl_ms", 900_000),
        ("credential_refusal_ttl_ms", 5_000),
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
        ("RABBITMQ_URL", "amqp://user:pw@rabbit-1:5672,rabbit-2,[::1]:5673/%2Fwhatsapp", None),
        ("RABBITMQ_URL", "amqp://user:p,w@rabbit-1/%2Fwhatsapp, amqp://user:p,w@rabbit-2:5673/%2Fwhatsapp", None),
        ("RABBITMQ_PREFETCH", "50", 50),
        ("RABBITMQ_QUEUE_TYPE", "quorum", "quorum"),
        ("INTAKE_QUEUE", "outbound-a", "outbound-a"),
        ("REDIS_URL", "rediss://:pw@redis:6380/1", None),
        ("REDIS_URL", "redis+sentinel://:pw@one:26379,two/mymaster/0?sentinel_username=a&sentinel_password=b", None),
        ("REDIS_URL", "rediss+sentinel://one/mymaster?ssl_ca_certs=/ca.crt", None),
        ("REDIS_URL", "redis+cluster://user:pw@one:6379,two:6379/0", None),
        ("TENANT_SERVICE_URL", "https://tenants.example/base/", "https://tenants.example/base/"),
        ("TENANT_CREDENTIALS_PATH", "/tenants/{tenant_id}/credentials/meta", "/tenants/{tenant_id}/credentials/meta"),
        ("META_API_VERSION", "v25.0", "v25.0"),
        ("META_API_MAX_RETRIES", "0", 0),
        ("RATE_LIMIT_MAX_RETRIES", "", None),
        ("RATE_LIMIT_MAX_RETRIES", "0", 0),
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


@pytest.mark.parametrize(
    ("variable", "text", "rule"),
    [
        ("LANES", "-1", "a whole number from 0 up to 64"),
        ("RABBITMQ_PREFETCH", "s3cret", "a whole number from 1 up to 10000"),
        ("RATE_LIMIT_MAX_RETRIES", "1001", "a whole number from 0 up to 1000"),
        ("MESSAGE_MAX_BYTES", "1 MiB", "a whole number of bytes from 1024 up to 134217728"),
        ("CIRCUIT_OPEN_MS", "60s", "a whole number of milliseconds from 1000 up to 600000"),
        ("SENT_LEDGER_TTL_MS", "2 d", "a whole number of milliseconds"),  # the other settings decide its bounds
        ("TENANT_SHARE", "0", "a number above 0 up to 1"),
        ("PHONE_NUMBER_RATE", "nan", "a number from 0 up to 100000"),
        ("TENANT_OWNS_NUMBER", "s3cret", "one of warn, strict"),
    ],
)
def test_what_a_setting_must_be_is_told_with_its_unit_and_bounds_and_without_its_value(
    environment: pytest.MonkeyPatch, variable: str, text: str, rule: str
) -> None:
    assert refused(environment, **{variable: text}) == f"{variable}: must be {rule}"


def test_keys_are_separated_by_commas_and_the_first_is_first(environment: pytest.MonkeyPatch) -> None:
    assert loaded(environment, CREDENTIAL_CACHE_KEYS=f"{NEW}, {OLD},").fernet_keys == [NEW, OLD]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RABBITMQ_URL", ""),
        ("RABBITMQ_URL", "http://rabbit"),
        ("RABBITMQ_URL", "amqp://"),
        ("RABBITMQ_URL", "amqp://rabbit:port/%2Fwhatsapp"),
        ("RABBITMQ_URL", "amqp://rabbit-1,rabbit-2:port/%2Fwhatsapp"),
        ("RABBITMQ_URL", "amqp://rabbit-1,,rabbit-2/%2Fwhatsapp"),
        ("RABBITMQ_URL", "amqp://rabbit-1/%2Fwhatsapp,rabbit-2/%2Fwhatsapp,amqp://rabbit-3/%2Fwhatsapp"),
        ("RABBITMQ_URL", "amqp://rabbit-1/%2Fwhatsapp,amqp://rabbit-2/other"),
        ("RABBITMQ_URL", "amqp://rabbit-1/%2Fwhatsapp,amqps://rabbit-2/%2Fwhatsapp"),
        ("RABBITMQ_URL", "amqp://a:pw@rabbit-1/%2Fwhatsapp,amqp://b:pw@rabbit-2/%2Fwhatsapp"),
        ("RABBITMQ_PREFETCH", "0"),
        ("RABBITMQ_PREFETCH", "many"),
        ("RABBITMQ_QUEUE_TYPE", "stream"),
        ("INTAKE_QUEUE", ""),
        ("INTAKE_QUEUE", "outbound.a"),
        ("INTAKE_QUEUE", "ausgehend-ä"),
        ("INTAKE_QUEUE", "a" * 101),
        ("INTAKE_QUEUE", "outbound-failed"),
        ("INTAKE_QUEUE", "whatsapp-due"),
        ("REDIS_URL", "localhost:6379"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317"),
        ("REDIS_URL", "redis://localhost:99999"),
        ("REDIS_URL", "redis+sentinel://one,two"),
        ("REDIS_URL", "redis+sentinel://one,,two/mymaster"),
        ("REDIS_URL", "redis+sentinel://one/mymaster/first"),
        ("REDIS_URL", "redis+cluster://one:0,two"),
        ("REDIS_URL", "redis+cluster://one,two/1"),
        ("REDIS_URL", "redis+cluster://one?sentinel_password=s3cret"),
        ("REDIS_URL", "redis+nonsense://one"),
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
        ("MESSAGE_MAX_AGE_MS", "0"),
        ("MESSAGE_MAX_AGE_MS", ""),
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


def test_all_that_is_wrong_is_told_at_once_a_line_each(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("TENANT_SERVICE_URL")
    lines = refused(environment, RABBITMQ_PREFETCH="0", META_API_TIMEOUT_MS="20000", LOG_LEVEL="LOUD").splitlines()
    names = ["RABBITMQ_PREFETCH", "TENANT_SERVICE_URL", "SHUTDOWN_GRACE_MS", "LOG_LEVEL"]
    assert [line.split(": ")[0] for line in lines] == names


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"META_API_TIMEOUT_MS": "20000"}, "SHUTDOWN_GRACE_MS: is not above META_API_TIMEOUT_MS"),
        ({"SHUTDOWN_GRACE_MS": "10000"}, "SHUTDOWN_GRACE_MS: is not above META_API_TIMEOUT_MS"),
        (
            {"META_API_RETRY_DELAY_MS": "50000", "META_API_RETRY_MAX_DELAY_MS": "40000"},
            "META_API_RETRY_MAX_DELAY_MS: is below META_API_RETRY_DELAY_MS",
        ),
        ({"META_API_RETRY_DELAY_MS": "70000"}, "META_API_RETRY_MAX_DELAY_MS: is below META_API_RETRY_DELAY_MS"),
        ({"META_API_RETRY_MAX_DELAY_MS": "14999"}, "META_API_RETRY_MAX_DELAY_MS: is below 15000"),
        ({"META_API_RETRY_MAX_DELAY_MS": "4094751"}, "META_API_RETRY_MAX_DELAY_MS: is above 4094750"),
        ({"SENT_LEDGER_TTL_MS": "86399999"}, "SENT_LEDGER_TTL_MS: is below 86400000"),
        ({"SENT_LEDGER_TTL_MS": "9223372036854775807"}, "SENT_LEDGER_TTL_MS: is above 31536000000"),
        ({"MESSAGE_MAX_AGE_MS": "1000"}, "MESSAGE_MAX_AGE_MS: is not above META_API_RETRY_DELAY_MS"),
        ({"MESSAGE_MAX_AGE_MS": "172800001"}, "SENT_LEDGER_TTL_MS: is below MESSAGE_MAX_AGE_MS"),
    ],
)
def test_a_bound_is_named_with_the_other_side_of_it(
    environment: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    sentence = refused(environment, **variables)
    assert sentence.startswith(says)
    assert ("raise it" in sentence) != ("lower it" in sentence)


@pytest.mark.parametrize("cap_ms", [LEAST_CAP_MS, LONGEST_CAP_MS])
def test_no_delay_is_cut_within_the_bounds_of_the_cap(environment: pytest.MonkeyPatch, cap_ms: int) -> None:
    cap_s = loaded(environment, META_API_RETRY_MAX_DELAY_MS=str(cap_ms)).meta_api_retry_max_delay_ms / 1000
    backoff = RetryHandler(cap_s=cap_s, draw=lambda: 1.0)
    for rule in (row.retry for row in ROWS if row.retry):
        first, last = (
            backoff.calculate_backoff(attempt, base_delay_s=rule.base_s, growth=rule.growth, cap_s=rule.cap_s)
            for attempt in (1, 100)
        )
        assert first >= (rule.base_s or 0)
        assert last <= LONGEST_S


@pytest.mark.parametrize("version", ["v1.0", "v2.12", "v18.0", "v19.0", "v20.0"])
def test_a_version_that_meta_has_retired_is_refused(environment: pytest.MonkeyPatch, version: str) -> None:
    assert refused(environment, META_API_VERSION=version) == (
        "META_API_VERSION: Meta has retired this version: set v26.0"
    )


@pytest.mark.parametrize("version", ["v21.0", "v26.0", "v27.0", "v100.3"])
def test_a_version_that_meta_may_have_is_taken(environment: pytest.MonkeyPatch, version: str) -> None:
    assert loaded(environment, META_API_VERSION=version).meta_api_version == version


@pytest.mark.parametrize(
    "query",
    [
        *("decode_responses=True", "protocol=3", "encoding=latin-1", "legacy_responses=0", "socket_timeout=60"),
        *("max_connections=1", "retry_on_timeout=1", "health_check_interval=1", "ssl_ca_certs=/ca.crt", "nonsense=1"),
        *("db=one", "decode_responses="),
    ],
)
def test_an_option_of_redis_that_the_worker_depends_on_is_refused(environment: pytest.MonkeyPatch, query: str) -> None:
    assert refused(environment, REDIS_URL=f"redis://redis:6379/0?{query}").startswith("REDIS_URL: ")


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis://redis:6379/?db=3&client_name=worker",
        "redis://user:pw@redis:6379/15",
        "rediss://redis:6379/0?ssl_ca_certs=/ca.crt&ssl_certfile=/tls.crt&ssl_keyfile=/tls.key",
        "rediss://redis:6379/0?ssl_ca_data=x&ssl_cert_reqs=required&ssl_check_hostname=yes",
        "rediss://redis:6379/0?ssl_min_version=772&ssl_ciphers=x",
    ],
)
def test_a_url_of_redis_that_is_taken_makes_a_connection(environment: pytest.MonkeyPatch, url: str) -> None:
    redis = connect(loaded(environment, REDIS_URL=url).redis_url.get_secret_value())
    assert isinstance(redis, Redis)
    assert redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # it reads every option, and connects to nothing


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TENANT_SERVICE_TOKEN", "s3cret\ns3cret"),
        ("TENANT_SERVICE_TOKEN", "Bearer s3cret"),
        ("TENANT_SERVICE_TOKEN", "s3cret\u00e9"),
        ("TENANT_SERVICE_TOKEN", "s3cret\x7f"),
        ("TENANT_SERVICE_URL", "http://tenants\n.example"),
        ("TENANT_SERVICE_URL", "http://tenants/s3 cret"),
        ("REDIS_URL", "redis://:s3cret\t@redis:6379/0"),
        ("RABBITMQ_URL", "amqp://guest:s3cret\n@rabbit/%2Fwhatsapp"),
        ("TENANT_CREDENTIALS_PATH", "/tenants/{tenant_id}\r\nX-Evil: s3cret"),
    ],
)
def test_a_space_or_a_line_break_inside_a_value_is_refused(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    sentence = refused(environment, **{variable: value})
    assert sentence.startswith(f"{variable}: ")
    assert "\n" not in sentence
    assert "s3cret" not in sentence


def test_an_empty_token_is_none(environment: pytest.MonkeyPatch) -> None:
    assert loaded(environment, TENANT_SERVICE_TOKEN="").tenant_service_token is None
    assert loaded(environment, OPERATOR_TOKEN="").operator_token is None


def test_an_operator_token_that_could_be_guessed_is_refused(environment: pytest.MonkeyPatch) -> None:
    assert refused(environment, OPERATOR_TOKEN="s3cret") == (
        "OPERATOR_TOKEN: is shorter than 16 characters: make one with openssl rand -hex 32"
    )


SECRETS: dict[str, Any] = {
    "RABBITMQ_URL": "amqp://guest:s3cret@rabbit:5672/%2Fwhatsapp",
    "REDIS_URL": "redis://:s3cret@redis:6379/0",
    "TENANT_SERVICE_TOKEN": "s3cret",
    "OPERATOR_TOKEN": "s3cret-of-operators",
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
        ("RABBITMQ_URL", "amqp://guest:s3cret@rabbit-1,amqp://guest:s3cret-2@rabbit-2"),
        ("REDIS_URL", "://:s3cret@redis"),
        ("REDIS_URL", "redis://:s3cret\u2100@redis"),
        ("CREDENTIAL_CACHE_KEYS", "s3cret"),
        ("OPERATOR_TOKEN", "s3cret"),
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


GOOD: dict[str, str] = {**SECRETS, "CREDENTIAL_CACHE_KEYS": f"{NEW}\n{OLD}\n"}


def test_each_secret_can_come_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert sorted(GOOD) == sorted(name.upper() for name in SECRET_FIELDS)
    for name, value in GOOD.items():
        (tmp_path / name).write_text(value + "\n")
        environment.setenv(file_variable(name), str(tmp_path / name))
    settings = load_settings()
    assert settings.rabbitmq_url.get_secret_value() == GOOD["RABBITMQ_URL"]
    assert settings.redis_url.get_secret_value() == GOOD["REDIS_URL"]
    assert settings.tenant_service_token == SecretStr("s3cret")
    assert settings.operator_token == SecretStr("s3cret-of-operators")
    assert settings.fernet_keys == [NEW, OLD]


@pytest.mark.parametrize("variable", sorted(GOOD))
@pytest.mark.parametrize("trouble", ["missing", "folder", "binary", "set twice"])
def test_a_secret_file_in_trouble_is_one_sentence_that_names_the_variable(
    environment: pytest.MonkeyPatch, tmp_path: Path, variable: str, trouble: str
) -> None:
    path = tmp_path / "secret"
    if trouble == "folder":
        path.mkdir()
    elif trouble != "missing":
        path.write_bytes(GOOD[variable].encode() + (b"\xff" if trouble == "binary" else b""))
    if trouble == "set twice":
        environment.setenv(variable, GOOD[variable])
    sentence = refused(environment, **{file_variable(variable): str(path)})
    assert sentence.startswith(f"{file_variable(variable)}: ")
    assert ("unset one" if trouble == "set twice" else str(path)) in sentence
    assert "\n" not in sentence
    assert "s3cret" not in sentence


@pytest.mark.parametrize(
    "value",
    ["s3cret", "s3cret" * 100, "/s3cret", "/s3cret/in+base64==", "/" + "s3cret" * 100 + "/", "amqp://s3cret@rabbitmq/"],
    ids=["word", "long", "slash", "base64", "long base64", "url"],
)
@pytest.mark.parametrize("variable", sorted(GOOD))
def test_a_secret_in_the_place_of_its_files_path_is_not_shown(
    environment: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    sentence = refused(environment, **{file_variable(variable): value})
    assert sentence.startswith(f"{file_variable(variable)}: the file that it names (not shown")
    assert "s3cret" not in sentence
    assert "\n" not in sentence


def test_the_path_of_a_file_is_shown_even_if_its_folder_is_not_mounted(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "not" / "mounted"
    assert str(path) in refused(environment, REDIS_URL_FILE=str(path))


def test_a_wrong_value_in_a_file_names_the_files_variable(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("http://:s3cret@redis")
    sentence = refused(environment, REDIS_URL_FILE=str(tmp_path / "url"), LOG_LEVEL="LOUD")
    assert [line.split(": ")[0] for line in sentence.splitlines()] == ["REDIS_URL_FILE", "LOG_LEVEL"]
    assert "s3cret" not in sentence


def test_an_empty_variable_beside_a_file_does_not_count(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    settings = loaded(environment, TENANT_SERVICE_TOKEN="", TENANT_SERVICE_TOKEN_FILE=str(tmp_path / "token"))
    assert settings.tenant_service_token == SecretStr("s3cret")
    assert loaded(environment, TENANT_SERVICE_TOKEN_FILE="").tenant_service_token is None


def test_a_worker_that_is_only_described_needs_no_setting(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("TENANT_SERVICE_URL")
    assert load_settings(DocumentedSettings).rabbitmq_queue_type == "classic"
    environment.setenv("RABBITMQ_QUEUE_TYPE", "quorum")
    assert load_settings(DocumentedSettings).rabbitmq_queue_type == "quorum"


def test_a_proxy_that_cannot_be_used_stops_the_start(environment: pytest.MonkeyPatch) -> None:
    assert refused(environment, HTTPS_PROXY="socks5://user:secret@proxy:1080") == (
        "HTTPS_PROXY: must be a URL like http://proxy:3128"
    )


def test_messages_cannot_be_held_without_circuits(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CIRCUIT_FAILURES", "0")
    assert loaded(environment).circuit_failures == 0
    environment.setenv("ON_TENANT_FAILURE", "hold")
    assert "ON_TENANT_FAILURE" in refused(environment)
    environment.setenv("CIRCUIT_FAILURES", "1")
    assert loaded(environment).on_tenant_failure == "hold"
