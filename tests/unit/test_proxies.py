from __future__ import annotations

import socket

import httpx
import pytest
from yarl import URL

from stream.meta.transport import HonestTransport
from stream.proxies import proxy_for, wrong_proxies
from tests.proxy import Proxy

GRAPH = "https://graph.facebook.com/v26.0/1/messages"


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, GRAPH, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, GRAPH, "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, GRAPH, "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, GRAPH, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://user:pass%40word@proxy:3128"}, GRAPH, "http://user:pass%40word@proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, GRAPH, None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://tenants:3000/x", "http://proxy:3128"),
        ({"HTTPS_PROXY": ""}, GRAPH, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, GRAPH, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "localhost,.facebook.com"}, GRAPH, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "graph.facebook.com:443"}, GRAPH, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "graph.facebook.com:80"}, GRAPH, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "book.com"}, GRAPH, "http://proxy:3128"),
    ],
)
def test_the_environment_names_the_proxy_for_a_url(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(URL(url)) == (URL(proxy) if proxy else None)


@pytest.mark.parametrize("value", ["socks5://proxy:1080", "http://", "http://proxy:port", "ftp://proxy"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    assert list(wrong_proxies()) == [("HTTPS_PROXY", "must be a URL like http://proxy:3128")]


@pytest.mark.parametrize("value", ["http://proxy:3128", "https://proxy", "proxy:3128", ""])
def test_a_proxy_that_can_be_used_is_not_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    assert list(wrong_proxies()) == []


async def posted(url: str) -> None:
    transport = HonestTransport(2, connect_s=2)
    try:
        await transport.post(url, {"Authorization": "Bearer EAAG"}, b"{}")
    finally:
        await transport.aclose()


@pytest.mark.parametrize("refusal", ["407 Proxy Authentication Required", "403 Forbidden", "503 Busy"])
async def test_a_proxy_that_refuses_proves_that_nothing_left(monkeypatch: pytest.MonkeyPatch, refusal: str) -> None:
    async with Proxy() as proxy:
        proxy.refusal = refusal
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:password@127.0.0.1:{proxy.port}")
        with pytest.raises(httpx.ProxyError, match=f"the proxy answered HTTP {refusal[:3]}") as caught:
            await posted("https://graph.invalid/")
    assert "password" not in repr(caught.value)
    assert proxy.asked == ["CONNECT graph.invalid:443 HTTP/1.1"]
    assert "EAAG" not in "".join(proxy.heads)


async def test_a_proxy_that_hangs_up_proves_that_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Proxy() as proxy:
        proxy.refusal = ""
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(httpx.ConnectError):
            await posted("https://graph.invalid/")


async def test_a_proxy_that_is_not_there_proves_that_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:password@127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(httpx.ConnectError) as caught:
            await posted("https://graph.invalid/")
    assert "password" not in str(caught.value)


async def test_a_proxy_that_forwards_is_not_told_the_targets_password(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Proxy() as proxy:
        proxy.refusal = "403 Forbidden"
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        await posted("http://user:password@tenants.invalid:3000/a%2Fb?c#d")
    assert proxy.asked == ["POST http://tenants.invalid:3000/a%2Fb?c HTTP/1.1"]
