"""Starting: waits for what may come, stops with one sentence for what will not."""

from __future__ import annotations

import pytest

from tests.scene import Scene, management, number


async def _stops_with(stage: Scene, **settings: str) -> str:
    worker = await stage.start_worker(wait=False, **settings)
    await stage.until(lambda: worker.process.poll() is not None, what="the worker stops")
    assert worker.process.returncode == 1
    assert "Traceback" not in worker.log.read_text()
    return worker.tail(1)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TENANT_SERVICE_URL", "", "TENANT_SERVICE_URL: required"),
        ("RABBITMQ_URL", "localhost:5672", "RABBITMQ_URL: must be a URL like amqp://"),
        ("RABBITMQ_PREFETCH", "0", "RABBITMQ_PREFETCH: "),
        ("CREDENTIAL_CACHE_KEYS", "hunter2", "CREDENTIAL_CACHE_KEYS: key 1 is not a Fernet key"),
        ("META_API_VERSION", "18", "META_API_VERSION: must look like v26.0"),
        ("SHUTDOWN_GRACE_MS", "5000", "SHUTDOWN_GRACE_MS is not above META_API_TIMEOUT_MS"),
    ],
)
async def test_a_wrong_setting_stops_the_start_with_one_sentence(
    stage: Scene, name: str, value: str, says: str
) -> None:
    sentence = await _stops_with(stage, **{name: value})
    assert says in sentence
    assert "hunter2" not in sentence


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


async def test_a_start_without_cache_keys_warns(stage: Scene) -> None:
    worker = await stage.start_worker(CREDENTIAL_CACHE_KEYS="")
    line = await stage.logged(worker, "credentials_not_encrypted")
    assert line["level"] == "warning"
    to = number()
    await stage.publish(to)
    await stage.accepted(to)
