"""What an operator types, reads and gets as an exit code; Redis is stood in for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from redis.exceptions import ResponseError

from stream import __version__
from stream.contract.identifiers import TenantId
from stream.operations import cli, redis_link
from stream.operations.environment import intake_queue, message_max_age
from stream.operations.exits import CommandFailed, ExitCode
from stream.settings import Settings
from stream.tenants.cache import LEASE_PREFIX, entry_key
from tests.commands import stream
from tests.unit.doubles import Clock, FakeRedis

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


class Redis(FakeRedis):
    """A Redis that also answers a ping, and notes that it was let go."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.asked_for: list[str] = []
        self.closed = False

    def connect(self, url: str) -> Redis:
        self.asked_for.append(url)
        return self

    async def ping(self) -> bool:
        await self._command()
        return True

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Redis:
    redis = Redis()
    monkeypatch.setattr(redis_link, "connect_patiently", redis.connect)
    monkeypatch.setenv("REDIS_URL", "redis://cache:6379/3")
    return redis


def fill(redis: Redis, *tenants: TenantId) -> None:
    async def fill_all() -> None:
        for tenant in tenants:
            await redis.set(entry_key(tenant), b"anything")

    asyncio.run(fill_all())


@pytest.mark.parametrize(
    ("tenants", "said"),
    [
        ((), "removed the credentials of 0 tenants\n"),
        ((ACME,), "removed the credentials of 1 tenant\n"),
        ((ACME, GLOBEX), "removed the credentials of 2 tenants\n"),
    ],
)
def test_clear_forgets_every_tenant_and_says_how_many(
    redis: Redis, capsys: pytest.CaptureFixture[str], tenants: tuple[TenantId, ...], said: str
) -> None:
    fill(redis, *tenants)
    redis.entries[LEASE_PREFIX + "{acme}"] = (b"owner", None)
    assert stream("cache", "clear") == 0
    assert capsys.readouterr().out == said
    assert list(redis.entries) == [LEASE_PREFIX + "{acme}"]  # a fetch that runs is not disturbed
    assert redis.closed


def test_invalidate_forgets_one_tenant(redis: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    fill(redis, ACME, GLOBEX)
    assert stream("cache", "invalidate", "acme") == 0
    assert capsys.readouterr().out == "removed the credentials of acme\n"
    assert list(redis.entries) == [entry_key(GLOBEX)]
    assert stream("cache", "invalidate", "acme") == 0
    assert capsys.readouterr().out == "no credentials of acme are cached\n"


def test_scripts_get_one_json_object(redis: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    fill(redis, ACME, GLOBEX)
    assert stream("cache", "invalidate", "acme", "--json") == 0
    assert stream("cache", "invalidate", "acme", "--json") == 0
    assert stream("cache", "clear", "--json") == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"tenantId": "acme", "removed": 1},
        {"tenantId": "acme", "removed": 0},
        {"removed": 1},
    ]


def test_the_url_comes_from_the_environment(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream("cache", "clear") == 0
    monkeypatch.delenv("REDIS_URL")
    assert stream("cache", "clear") == 0
    assert redis.asked_for == ["redis://cache:6379/3", Settings.model_fields["redis_url"].default.get_secret_value()]


@pytest.mark.parametrize("error", [None, ResponseError("NOAUTH Authentication required."), OSError("refused")])
@pytest.mark.parametrize("words", [["clear"], ["invalidate", "acme"]])
def test_a_redis_that_does_not_answer_is_exit_code_3(
    redis: Redis, capsys: pytest.CaptureFixture[str], words: list[str], error: Exception | None
) -> None:
    redis.go_away()
    redis.away = error or redis.away
    assert stream("cache", *words) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"Redis cannot be reached: {redis.away}; check REDIS_URL\n"
    assert redis.closed


def test_the_url_comes_from_a_file_as_the_workers_does(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "url"))
    assert stream("cache", "clear") == 2
    assert capsys.readouterr().err.startswith("REDIS_URL_FILE: REDIS_URL is set too")
    monkeypatch.delenv("REDIS_URL")
    assert stream("cache", "clear") == 2
    assert capsys.readouterr().err.startswith(f"REDIS_URL_FILE: the file {tmp_path / 'url'} cannot be read")
    (tmp_path / "url").write_text("redis://cache:6379/5\n")
    assert stream("cache", "clear") == 0
    assert redis.asked_for == ["redis://cache:6379/5"]


def test_a_url_that_is_none_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "http://user:s3cret@cache")
    assert stream("cache", "clear") == 2
    said = capsys.readouterr()
    assert said.err.startswith("REDIS_URL: must be a URL like redis://host")
    assert "s3cret" not in said.out + said.err


def test_blanks_around_a_url_are_left_out_as_the_worker_leaves_them_out(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", " redis://cache:6379/5\n")
    assert stream("cache", "clear") == 0
    assert redis.asked_for == ["redis://cache:6379/5"]


@pytest.mark.parametrize("text", ["a day", "0", "604800001", "99999999999999999999", "1.5"])
def test_an_age_that_the_worker_would_not_take_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("MESSAGE_MAX_AGE_MS", text)
    with pytest.raises(CommandFailed) as refused:
        message_max_age()
    rule = "must be a whole number of milliseconds from 1 up to 604800000"
    assert str(refused.value) == f"MESSAGE_MAX_AGE_MS: {rule}, as the worker has it"


@pytest.mark.parametrize(("text", "age"), [("", timedelta(days=1)), (" 60000 ", timedelta(minutes=1))])
def test_an_age_is_read_as_the_worker_reads_it(monkeypatch: pytest.MonkeyPatch, text: str, age: timedelta) -> None:
    monkeypatch.setenv("MESSAGE_MAX_AGE_MS", text)
    assert message_max_age() == age


@pytest.mark.parametrize(("text", "queue"), [(" shard-1\n", "shard-1"), (" ", "outbound-processed")])
def test_the_intake_is_read_without_the_blanks_around_it(
    monkeypatch: pytest.MonkeyPatch, text: str, queue: str
) -> None:
    monkeypatch.setenv("INTAKE_QUEUE", text)
    assert intake_queue() == queue


def test_a_platform_of_another_name_is_not_opened(redis: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    assert stream("circuits", "open", "platform", "acme", "--reason", "meant the tenant") == 2
    assert capsys.readouterr().err == "acme: the platform is named meta\n"
    assert not redis.asked_for


@pytest.mark.parametrize(
    ("scope", "name"), [("tenant", ""), ("tenant", "acme\n"), ("tenant", "x" * 129), ("number", "acme\n/100")]
)
def test_a_circuit_of_what_can_be_no_tenant_is_not_opened(
    redis: Redis, capsys: pytest.CaptureFixture[str], scope: str, name: str
) -> None:
    assert stream("circuits", "open", scope, name, "--reason", "a slip") == 2
    assert "not a tenant id" in capsys.readouterr().err
    assert not redis.asked_for


@pytest.mark.parametrize("words", [[], ["cache"], ["cache", "drop"], ["cache", "invalidate"], ["queue", "clear"]])
def test_words_it_does_not_know_are_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert stream(*words) == 2
    assert "Usage: stream" in capsys.readouterr().err


@pytest.mark.parametrize("tenant", ["", "acme\n", "a\x00", "a\x9f", "x" * 129])
def test_a_tenant_id_that_could_be_none_asks_redis_for_nothing(
    redis: Redis, tenant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stream("cache", "invalidate", tenant) == 2
    assert "not a tenant id" in capsys.readouterr().err
    assert redis.asked == 0


def every_command(app: typer.Typer, *before: str) -> Iterator[tuple[str, ...]]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield (*before, command.name or command.callback.__name__.replace("_", "-"))
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from every_command(group.typer_instance, *before, group.name or "")


@pytest.mark.parametrize("words", sorted(every_command(cli.app)), ids=" ".join)
def test_the_help_of_every_command_has_an_example_and_offers_json(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert stream(*words, "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Example: stream {' '.join(words)}" in said
    assert "--json" in said


def test_the_help_says_what_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert stream("--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert [f" {code.value} " in said for code in ExitCode] == [True] * len(ExitCode)


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert stream("--version") == 0
    assert capsys.readouterr().out == f"whatsapp-stream {__version__}\n"
