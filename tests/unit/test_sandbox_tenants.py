from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from sandbox.tenants import TenantService
from tests.unit.doubles import NO_TLS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def service() -> AsyncIterator[TenantService]:
    async with TenantService() as simulator:
        yield simulator


@pytest.fixture
async def client(service: TenantService) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(verify=NO_TLS, base_url=service.url) as http_client:
        yield http_client


def path(tenant_id: str) -> str:
    return f"/api/v1/tenants/{tenant_id}/credentials?type=whatsapp"


async def test_the_usual_answer_has_everything(service: TenantService, client: httpx.AsyncClient) -> None:
    service.rates["acme"] = 80
    answer = (await client.get(path("acme"))).json()
    assert answer["status"] == "active"
    assert answer["credentials"]["systemUserAccessToken"] == service.token("acme")
    assert answer["credentials"]["rateLimits"] == {"messagesPerSecond": 80}


@pytest.mark.parametrize(
    ("suffix", "names"),
    [
        ("shape2", {"accessToken", "phoneNumberId"}),
        ("shape3", {"meta_access_token", "whatsapp_phone_number_id"}),
        ("shape4", {"token", "phoneNumberId"}),
    ],
)
async def test_the_id_chooses_the_shape_of_the_answer(client: httpx.AsyncClient, suffix: str, names: set[str]) -> None:
    assert set((await client.get(f"/tenants/acme-{suffix}/credentials/meta")).json()) == names


@pytest.mark.parametrize(
    ("tenant_id", "statuses"),
    [
        ("missing-a", [404, 404]),
        ("suspended-a", [403]),
        ("broken-a", [500] * 3),
        ("flaky-a", [503, 503, 200]),
        ("status-suspended-a", [200]),
    ],
)
async def test_the_id_chooses_the_http_status(client: httpx.AsyncClient, tenant_id: str, statuses: list[int]) -> None:
    assert [(await client.get(path(tenant_id))).status_code for _ in statuses] == statuses


def token_of(answer: dict[str, Any]) -> str | None:
    token: str | None = answer["credentials"].get("systemUserAccessToken")
    return token


async def test_the_id_chooses_the_token(client: httpx.AsyncClient) -> None:
    tokens = [token_of((await client.get(path(id_))).json()) for id_ in ("rotating-a", "rotating-a", "expired-a")]
    assert [(token or "").startswith("EAAGexpired") for token in tokens] == [True, False, True]
    assert token_of((await client.get(path("notoken-a"))).json()) is None
    assert (await client.get(path("status-suspended-a"))).json()["status"] == "SUSPENDED"


async def test_rotation_returns_the_token_that_is_no_longer_handed_out(
    service: TenantService, client: httpx.AsyncClient
) -> None:
    before = token_of((await client.get(path("acme"))).json())
    assert service.rotate("acme") == before
    assert token_of((await client.get(path("acme"))).json()) not in {before, None}


async def test_ids_arrive_decoded(service: TenantService, client: httpx.AsyncClient) -> None:
    await client.get(path("a%2Fb%20c"))
    assert service.fetches == {"a/b c": 1}
    assert [fetch.tenant_id for fetch in service.requests] == ["a/b c"]


async def test_a_required_token_is_required() -> None:
    async with (
        TenantService(required_token="secret") as service,
        httpx.AsyncClient(verify=NO_TLS, base_url=service.url) as client,
    ):
        assert (await client.get(path("acme"))).status_code == 401
        good = {"Authorization": "Bearer secret"}
        assert (await client.get(path("acme"), headers=good)).status_code == 200
        assert "secret" not in repr(service.requests)


async def test_the_whole_service_can_fail_be_slow_and_be_down(
    service: TenantService, client: httpx.AsyncClient
) -> None:
    await client.post("/_sandbox/fail", json={"status": 500})
    assert (await client.get(path("acme"))).status_code == 500
    service.fail_with(None)
    service.delay = 0.3
    with pytest.raises(httpx.ReadTimeout):
        await client.get(path("acme"), timeout=0.1)
    service.delay, service.down = 0, True
    with pytest.raises(httpx.TransportError):
        await client.get(path("acme"))
    assert (await client.get("/_sandbox/summary")).json() == {"fetches": 3, "tenants": {"acme": 3}}
    await client.post("/_sandbox/reset")
    assert (await client.get(path("acme"))).status_code == 200


@pytest.mark.parametrize("tenant_id", ["a b/c?d%e#ü", "+49 30 1234567", "..a", "{x}", "\U0001f600"])
async def test_any_text_is_a_tenant_with_a_token_that_a_header_can_carry(
    service: TenantService, client: httpx.AsyncClient, tenant_id: str
) -> None:
    answer = (await client.get(path(quote(tenant_id, safe="")))).json()
    assert service.fetches == {tenant_id: 1}
    assert token_of(answer) == service.token(tenant_id)
    assert service.token(tenant_id).isascii()
    assert " " not in service.token(tenant_id)


async def test_the_id_chooses_silence(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await client.get(path("hanging-a"), timeout=0.1)
