"""Meta and the Tenant Service are reached through the proxies that the environment names."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator

import httpx
import pytest

from sandbox.certificates import issue
from tests.proxy import Proxy, tls_before
from tests.scene import Evidence, Scene, number

pytestmark = pytest.mark.any_servers

PASSWORD = "p@ss/word-of-the-proxy"
IN_A_URL = "p%40ss%2Fword-of-the-proxy"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    Evidence.secrets |= {PASSWORD, IN_A_URL, b64encode(f"worker:{PASSWORD}".encode()).decode()}
    async with Proxy() as one:
        yield one


@pytest.fixture
async def behind(stage: Scene, proxy: Proxy) -> AsyncIterator[Scene]:
    """A stage whose Graph API speaks TLS and is reached through the proxy."""
    files = issue(stage.world.base_dir / "proxied")
    async with tls_before(stage.graph.url, files.certificate, files.key) as url:
        stage.settings |= {
            "META_API_BASE_URL": url,
            "SSL_CERT_FILE": str(files.authority),
            "HTTPS_PROXY": f"http://worker:{IN_A_URL}@127.0.0.1:{proxy.port}",
        }
        yield stage


async def test_a_message_goes_through_the_proxy_whose_password_nobody_sees(behind: Scene, proxy: Proxy) -> None:
    worker = await behind.start_worker()
    await behind.watch()
    recipients = [number() for _ in range(3)]
    for to in recipients:
        await behind.publish(to)
        await behind.accepted(to)
    (head,) = proxy.heads  # one connection for all
    assert head.startswith(f"CONNECT {behind.settings['META_API_BASE_URL'].removeprefix('https://')} HTTP/1.1")
    assert b64encode(f"worker:{PASSWORD}".encode()).decode() in head
    assert "EAAG" not in head
    async with httpx.AsyncClient() as client:
        health = (await client.get(f"http://127.0.0.1:{worker.port}/health")).json()
    assert health["dependencies"]["metaApi"]["status"] == "up"


@pytest.mark.parametrize("refusal", ["407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway", ""])
async def test_a_proxy_that_refuses_is_a_send_that_never_left_and_is_tried_again(
    behind: Scene, proxy: Proxy, refusal: str
) -> None:
    proxy.refusal = refusal
    worker = await behind.start_worker(ON_UNKNOWN_OUTCOME="dead-letter", META_API_RETRY_DELAY_MS="100")
    to = number()
    internal_id = await behind.publish(to)
    line = await behind.logged(worker, "waiting_for_retry", internalId=internal_id)
    assert (line["errorType"], line["certainty"]) == ("NETWORK_ERROR", "not_sent")
    proxy.refusal = None
    await behind.accepted(to)
    assert len(behind.graph.by_recipient(to)) == 1


async def test_what_no_proxy_names_is_reached_directly(behind: Scene, proxy: Proxy) -> None:
    await behind.start_worker(NO_PROXY="graph.example,127.0.0.1")
    to = number()
    await behind.publish(to)
    await behind.accepted(to)
    assert proxy.heads == []


async def test_a_tenant_service_without_tls_is_asked_through_its_proxy_too(stage: Scene, proxy: Proxy) -> None:
    graph = stage.settings["META_API_BASE_URL"].removeprefix("http://")
    await stage.start_worker(HTTP_PROXY=f"127.0.0.1:{proxy.port}", NO_PROXY=graph)
    to = number()
    await stage.publish(to, "behind-a-proxy")
    await stage.accepted(to)
    path = "/api/v1/tenants/behind-a-proxy/credentials?type=whatsapp"
    assert proxy.asked == [f"GET {stage.settings['TENANT_SERVICE_URL']}{path} HTTP/1.1"]
