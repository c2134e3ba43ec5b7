from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import structlog

from stream.contract.identifiers import TenantId
from stream.meta.transport import HonestTransport
from stream.retry import RetryHandler
from stream.tenants.client import TenantServiceClient
from stream.tenants.credentials import (
    CredentialError,
    Credentials,
    CredentialsInvalid,
    CredentialsSuspended,
    TenantNotFound,
    TenantServiceUnavailable,
)
from tests.unit.doubles import NO_TLS, Clock, Sleeps

PATH = "/api/v1/tenants/{tenant_id}/credentials?type=whatsapp"
NOW = 1_795_435_200.0  # 2026-11-23T12:00:00Z
TOKEN = {"accessToken": "EAAGtoken"}


class World:
    """A client of a Tenant Service that answers by a script; its last answer repeats."""

    def __init__(
        self, *answers: object, path: str = PATH, service_token: str | None = None, timeout_s: float = 5
    ) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.sleeps = Sleeps()
        self._options: dict[str, Any] = {"path": path, "service_token": service_token, "timeout_s": timeout_s}
        mock = httpx.AsyncClient(verify=NO_TLS, transport=httpx.MockTransport(self._answer))
        self.client = self.client_over(mock, "http://tenants:3000/")

    def client_over(self, http: httpx.AsyncClient, base_url: str) -> TenantServiceClient:
        return TenantServiceClient(
            http,
            base_url=base_url,
            ttl_ms=900_000,
            retry=RetryHandler(draw=lambda: 0.0, sleep=self.sleeps),
            clock=Clock(NOW),
            **self._options,
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer == "silence":
            await asyncio.Event().wait()
        if isinstance(answer, int):
            return httpx.Response(answer, json={"message": "no"})
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    async def fetch(self, tenant_id: str = "acme") -> Credentials:
        with structlog.testing.capture_logs():
            return await self.client.fetch(TenantId(tenant_id))

    async def fails(self, kind: type[CredentialError]) -> str:
        with pytest.raises(CredentialError) as caught:
            await self.fetch()
        assert type(caught.value) is kind
        return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "number", "rate"),
    [
        (
            {
                "credentials": {
                    "systemUserAccessToken": "EAAGtoken",
                    "phoneNumberId": "100000001",
                    "businessAccountId": "200000001",
                    "rateLimits": {"messagesPerSecond": 80},
                },
                "status": "active",
            },
            "100000001",
            80.0,
        ),
        ({"accessToken": "EAAGtoken", "phoneNumberId": "100000001"}, "100000001", None),
        ({"accessToken": "EAAGtoken"}, None, None),
        ({"meta_access_token": "EAAGtoken", "whatsapp_phone_number_id": "100000001"}, "100000001", None),
        ({"meta_access_token": "EAAGtoken"}, None, None),
        ({"token": "EAAGtoken", "phoneNumberId": 100000001}, "100000001", None),
        ({"token": "EAAGtoken", "status": None, "expiresAt": None, "more": []}, None, None),
    ],
)
async def test_each_deployed_shape_is_read(answer: object, number: str | None, rate: float | None) -> None:
    assert await World(answer).fetch() == Credentials(TenantId("acme"), "EAAGtoken", number, rate, NOW, 900_000)


@pytest.mark.parametrize(
    ("tenant_id", "path", "target"),
    [
        ("acme", PATH, "/api/v1/tenants/acme/credentials?type=whatsapp"),
        ("acme", "/tenants/{tenant_id}/credentials/meta", "/tenants/acme/credentials/meta"),
        ("a/b?c#d e%é", PATH, "/api/v1/tenants/a%2Fb%3Fc%23d%20e%25%C3%A9/credentials?type=whatsapp"),
        ("+49 30 1", PATH, "/api/v1/tenants/%2B49%2030%201/credentials?type=whatsapp"),
        ("../../me", PATH, "/api/v1/tenants/..%2F..%2Fme/credentials?type=whatsapp"),
        ("a:b@c~d", PATH, "/api/v1/tenants/a%3Ab%40c~d/credentials?type=whatsapp"),
    ],
)
async def test_it_asks_at_the_configured_path_with_the_tenant_encoded(tenant_id: str, path: str, target: str) -> None:
    world = World(TOKEN, path=path)
    await world.fetch(tenant_id)
    (request,) = world.requests
    assert (request.method, request.url.host, request.url.port) == ("GET", "tenants", 3000)
    assert request.url.raw_path.decode() == target


@pytest.mark.parametrize("tenant_id", [".", ".."])
async def test_an_id_that_leads_out_of_its_place_in_a_path_is_no_tenant_and_nothing_is_asked(tenant_id: str) -> None:
    world = World(TOKEN)
    with pytest.raises(TenantNotFound, match="no URL path"):
        await world.fetch(tenant_id)
    assert world.requests == []


@pytest.mark.parametrize(("token", "header"), [("s3rvice", "Bearer s3rvice"), (None, None), ("", None)])
async def test_the_service_token_is_sent_if_there_is_one(token: str | None, header: str | None) -> None:
    world = World(TOKEN, service_token=token)
    await world.fetch()
    assert world.requests[0].headers.get("Authorization") == header


TRANSIENT = [
    401,
    408,
    429,
    500,
    502,
    503,
    504,
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("late"),
    httpx.ReadError("reset"),
]


@pytest.mark.parametrize("answer", TRANSIENT, ids=repr)
async def test_what_may_pass_is_tried_three_times_with_backoff(answer: object) -> None:
    world = World(answer)
    await world.fails(TenantServiceUnavailable)
    assert len(world.requests) == 3
    assert world.sleeps.asked == [1, 2]


async def test_it_is_tried_as_often_as_is_asked_for() -> None:
    world = World(500)
    with pytest.raises(TenantServiceUnavailable):
        await world.client.fetch(TenantId("acme"), attempts=1)
    assert (len(world.requests), world.sleeps.asked) == (1, [])


@pytest.mark.parametrize("answer", TRANSIENT, ids=repr)
async def test_what_has_passed_costs_no_message(answer: object) -> None:
    world = World(answer, answer, TOKEN)
    assert (await world.fetch()).access_token == "EAAGtoken"


async def test_silence_is_tried_three_times_each_bounded_in_time() -> None:
    world = World("silence", timeout_s=0.01)
    assert "0.01 s" in await world.fails(TenantServiceUnavailable)
    assert len(world.requests) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (404, TenantNotFound),
        (403, CredentialsSuspended),
        ({**TOKEN, "status": "suspended"}, CredentialsSuspended),
        ({**TOKEN, "status": "expired"}, CredentialsSuspended),
        ({"credentials": {"systemUserAccessToken": "EAAGtoken"}, "status": "suspended"}, CredentialsSuspended),
        ({"status": "suspended"}, CredentialsSuspended),
        ({**TOKEN, "status": "SUSPENDED"}, CredentialsSuspended),
        ({**TOKEN, "status": " Expired "}, CredentialsSuspended),
        ({"credentials": {**TOKEN, "status": "Suspended"}}, CredentialsSuspended),
        ({"credentials": {**TOKEN, "status": "expired"}, "status": "active"}, CredentialsSuspended),
        ({"credentials": {**TOKEN, "status": "active"}, "status": "Suspended"}, CredentialsSuspended),
        ({**TOKEN, "expiresAt": "2026-11-23T11:59:59Z"}, CredentialsSuspended),
        ({**TOKEN, "expiresAt": "2026-11-23T12:00:00"}, CredentialsSuspended),
        ({"credentials": {**TOKEN, "expiresAt": "2025-01-01"}}, CredentialsSuspended),
        ({"credentials": {**TOKEN, "expiresAt": "2025-01-01"}, "expiresAt": "2027-01-01"}, CredentialsSuspended),
        ({**TOKEN, "expiresAt": 1_795_435_199}, CredentialsSuspended),
        ({**TOKEN, "expiresAt": 1_795_435_199_000}, CredentialsSuspended),
        ({**TOKEN, "expiresAt": "1795435199"}, CredentialsSuspended),
        (400, CredentialsInvalid),
        (301, CredentialsInvalid),
        ({}, CredentialsInvalid),
        ({"credentials": {}}, CredentialsInvalid),
        ({"credentials": None}, CredentialsInvalid),
        ([], CredentialsInvalid),
        (httpx.Response(200, content=b"<html>"), CredentialsInvalid),
        (httpx.Response(200, content=b""), CredentialsInvalid),
        (httpx.Response(204), CredentialsInvalid),
    ],
    ids=repr,
)
async def test_what_will_not_pass_is_asked_once(answer: object, kind: type[CredentialError]) -> None:
    world = World(answer)
    await world.fails(kind)
    assert (len(world.requests), world.sleeps.asked) == (1, [])


@pytest.mark.parametrize(
    "token",
    [
        "",
        " ",
        "a b",
        "a\nb",
        "EAAG\r\nX-Evil: 1",
        "EAAGtoken\n",
        "tökén",
        "x" * 5000,
        None,
        True,
        5,
        [],
        ["EAAG"],
        {"a": 1},
    ],
    ids=lambda token: repr(token)[:20],
)
async def test_a_token_that_no_header_can_carry_is_no_token_and_is_not_shown(token: object) -> None:
    text = await World({"accessToken": token}).fails(CredentialsInvalid)
    assert "EAAG" not in text


@pytest.mark.parametrize(
    ("expires_at", "ttl_ms"),
    [
        ("2026-11-23T12:05:00Z", 300_000),
        ("2026-11-23T12:05:00+00:00", 300_000),
        ("2026-11-23T12:05:00", 300_000),
        ("2026-11-23T17:35:00+05:30", 300_000),
        ("2026-11-24T12:00:00Z", 900_000),
        (1_795_435_500, 300_000),
        (1_795_435_500_000, 300_000),
        (0, 900_000),  # Meta's own way to say never
        (True, 900_000),
        (1e300, 900_000),
        ("soon", 900_000),
        ("", 900_000),
        (None, 900_000),
        ([], 900_000),
    ],
)
@pytest.mark.parametrize("nested", [False, True], ids=["outside", "inside"])
async def test_an_end_that_lies_ahead_shortens_the_ttl(expires_at: object, ttl_ms: int, *, nested: bool) -> None:
    fields = {**TOKEN, "expiresAt": expires_at}
    assert (await World({"credentials": fields} if nested else fields).fetch()).ttl_ms == ttl_ms


async def test_the_earlier_of_two_ends_counts() -> None:
    early, late = "2026-11-23T12:01:00Z", "2026-11-23T12:05:00Z"
    for inner, outer in ((early, late), (late, early)):
        answer = {"credentials": {**TOKEN, "expiresAt": inner}, "expiresAt": outer}
        assert (await World(answer).fetch()).ttl_ms == 60_000


ODD: list[dict[str, Any]] = [
    {"status": ["active"]},
    {"status": {"a": 1}},
    {"status": 5},
    {"rateLimits": [80]},
    {"rateLimits": {"messagesPerSecond": "80"}},
    {"rateLimits": {"messagesPerSecond": True}},
]


@pytest.mark.parametrize("odd", ODD, ids=repr)
async def test_a_field_of_an_odd_kind_costs_no_message(odd: dict[str, Any]) -> None:
    credentials = await World({**TOKEN, **odd}).fetch()
    assert (credentials.access_token, credentials.messages_per_second) == ("EAAGtoken", None)


async def test_an_answer_that_cannot_be_decompressed_is_tried_again() -> None:
    async def body() -> Any:
        yield b"not gzip at all"

    broken: Callable[[], httpx.Response] = lambda: httpx.Response(  # noqa: E731 - a stream is read once
        200, headers={"content-encoding": "gzip"}, content=body()
    )
    assert (await World(broken(), broken(), TOKEN).fetch()).access_token == "EAAGtoken"


async def test_an_answer_beyond_the_bound_is_no_credentials_and_takes_no_memory() -> None:
    flood = gzip.compress(b'{"accessToken": "EAAGtoken", "more": "%s"}' % bytes(50_000_000))

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(flood) + flood)
        await writer.drain()
        writer.close()

    asked: list[bytes] = []
    async with (
        await asyncio.start_server(answers, "127.0.0.1", 0) as server,
        httpx.AsyncClient(transport=HonestTransport(1)) as http,
    ):
        world = World(TOKEN)
        client = world.client_over(http, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        tracemalloc.start()
        with pytest.raises(CredentialsInvalid, match="is too long"):
            await client.fetch(TenantId("acme"))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 * 1024 * 1024
    assert b"accept-encoding: identity" in asked[0].lower()
