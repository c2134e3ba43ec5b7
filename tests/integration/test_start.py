"""Starting: waits for what may come, stops with one sentence for what will not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.settings.model import LONGEST_LEDGER_MS
from tests.scene import Scene, management, number


async def _stops_with(stage: Scene, **settings: str) -> str:
    worker = await stage.start_worker(wait=False, **settings)
    await stage.until(lambda: worker.process.poll() is not None, 60, "the worker stops")
    assert worker.process.returncode == 1
    assert "Traceback" not in worker.log.read_text()
    return worker.tail(1)


@pytest.mark.any_servers
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TENANT_SERVICE_URL", "", "TENANT_SERVICE_URL: required"),
        ("RABBITMQ_URL", "localhost:5672", "RABBITMQ_URL: must be a URL like amqp://"),
        ("RABBITMQ_PREFETCH", "0", "RABBITMQ_PREFETCH: "),
        ("CREDENTIAL_CACHE_KEYS", "hunter2", "CREDENTIAL_CACHE_KEYS: key 1 is not a Fernet key"),
        ("META_API_VERSION", "v20.0", "META_API_VERSION: Meta has retired this version: set v26.0"),
        ("SHUTDOWN_GRACE_MS", "5000", "SHUTDOWN_GRACE_MS: is not above META_API_TIMEOUT_MS"),
        ("REDIS_URL", "redis://localhost:6379/0?decode_responses=True", "REDIS_URL: has an option that is not for it"),
        ("FASTSTREAM_WORKERS", "2", "HTTP_PORT: is one port for the 2 processes of --workers"),
    ],
)
async def test_a_wrong_setting_stops_the_start_with_one_sentence(
    stage: Scene, name: str, value: str, says: str
) -> None:
    sentence = await _stops_with(stage, **{name: value})
    assert says in sentence
    assert "hunter2" not in sentence


@pytest.mark.any_servers
async def test_all_wrong_settings_stop_the_start_together(stage: Scene) -> None:
    worker = await stage.start_worker(wait=False, RABBITMQ_PREFETCH="0", META_API_VERSION="18", LOG_LEVEL="LOUD")
    await stage.until(lambda: worker.process.poll() is not None, 60, "the worker stops")
    names = [line.split(": ")[1] for line in worker.log.read_text().splitlines()]
    assert names == ["RABBITMQ_PREFETCH", "META_API_VERSION", "LOG_LEVEL"]


async def test_a_port_that_is_taken_stops_the_start_with_one_sentence(stage: Scene) -> None:
    running = await stage.start_worker()
    sentence = await _stops_with(stage, HTTP_PORT=str(running.port))
    assert sentence.startswith(f"HTTP_PORT: cannot listen on 127.0.0.1:{running.port} (address already in use): ")


@pytest.mark.any_servers
async def test_a_secret_from_a_file_serves_and_one_that_is_missing_stops_the_start(
    stage: Scene, settings: dict[str, str], tmp_path: Path
) -> None:
    values = {name: settings[name] for name in ("REDIS_URL", "TENANT_SERVICE_TOKEN", "CREDENTIAL_CACHE_KEYS")}
    values["RABBITMQ_URL"] = stage.url
    files: dict[str, Any] = {}
    for name, value in values.items():
        (tmp_path / name).write_text(value + "\n")
        files |= {name: "", f"{name}_FILE": str(tmp_path / name)}
    await stage.start_worker(**files)
    to = number()
    await stage.publish(to)
    await stage.accepted(to)
    (tmp_path / "REDIS_URL").unlink()
    assert await _stops_with(stage, **files) == (
        f"whatsapp-stream: REDIS_URL_FILE: the file {tmp_path / 'REDIS_URL'} cannot be read "
        "(No such file or directory): mount it, or correct the path"
    )


async def test_redis_keeps_a_sent_message_for_the_longest_time_that_may_be_set(stage: Scene) -> None:
    worker = await stage.start_worker(SENT_LEDGER_TTL_MS=str(LONGEST_LEDGER_MS))
    to = number()
    for _ in range(2):
        await stage.publish(to, internal_id="twice")
    await stage.logged(worker, "duplicate", internalId="twice")
    assert stage.accepted_of([to]) == [1]


async def test_a_wrong_password_stops_the_start_with_one_sentence(stage: Scene) -> None:
    password = stage.world.rabbitmq.password
    sentence = await _stops_with(stage, RABBITMQ_URL=stage.url.replace(password, "wrong-password"))
    assert "RabbitMQ refuses the login in RABBITMQ_URL" in sentence
    assert "wrong-password" not in stage.workers[-1].log.read_text()


async def test_a_missing_vhost_stops_the_start_with_one_sentence(stage: Scene) -> None:
    sentence = await _stops_with(stage, RABBITMQ_URL=stage.url + "-missing")
    assert "RabbitMQ refuses the vhost 'stage-" in sentence


async def test_a_user_who_may_not_declare_stops_the_start_with_one_sentence(stage: Scene) -> None:
    vhost = stage.url.rsplit("/", 1)[1]
    nothing = {"configure": "^$", "write": ".*", "read": ".*"}
    async with management(stage.world) as api:
        (await api.put(f"/api/permissions/{vhost}/{stage.world.rabbitmq.username}", json=nothing)).raise_for_status()
    sentence = await _stops_with(stage)
    assert "RabbitMQ does not let the user of RABBITMQ_URL declare the topology" in sentence


async def test_a_start_with_a_version_that_meta_will_end_soon_warns(stage: Scene) -> None:
    line = await stage.logged(await stage.start_worker(META_API_VERSION="v21.0"), "api_version_ends")
    assert (line["level"], line["on"]) == ("warning", "21 January 2027")


async def test_a_start_without_cache_keys_warns(stage: Scene) -> None:
    worker = await stage.start_worker(CREDENTIAL_CACHE_KEYS="")
    line = await stage.logged(worker, "credentials_not_encrypted")
    assert line["level"] == "warning"
    to = number()
    await stage.publish(to)
    await stage.accepted(to)
