"""The worker's HTTP port serves the contract to read, and nothing that could publish."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from asyncapi.build import SITE, document
from asyncapi.page.page import page
from stream.broker.topology import Topology
from stream.contract.queues import DEAD_LETTER_QUEUE, INTAKE_QUEUE
from stream.observe.declared import Arguments
from stream.observe.docs import FILES, PATH, add_docs
from stream.specification.yaml_text import to_yaml
from tests.unit.doubles import NO_TLS


@asynccontextmanager
async def serving(arguments: Arguments) -> AsyncIterator[httpx.AsyncClient]:
    app = web.Application()
    add_docs(app.router, lambda: arguments)
    async with TestServer(app) as server, httpx.AsyncClient(verify=NO_TLS, base_url=str(server.make_url("/"))) as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with serving({}) as found:
        yield found


@pytest.mark.parametrize("arguments", [{}, Topology().shared_arguments(frozenset())], ids=["not declared", "default"])
@pytest.mark.parametrize("name", FILES)
async def test_every_file_of_the_site_is_served_as_it_is_by_default(name: str, arguments: Arguments) -> None:
    async with serving(arguments) as client:
        answer = await client.get(f"{PATH}/{name}")
    assert answer.status_code == 200
    assert answer.content == (SITE / name).read_bytes()


@pytest.mark.parametrize("unlimited", [(INTAKE_QUEUE,), (DEAD_LETTER_QUEUE,)])
async def test_the_contract_is_served_as_if_it_were_built_with_the_arguments_that_were_declared(
    unlimited: tuple[str, ...],
) -> None:
    arguments = Topology("quorum").shared_arguments(frozenset(unlimited))
    built = document().to_jsonable()
    amqp = {name: channel["bindings"]["amqp"] for name, channel in built["channels"].items()}
    amqp["intake"]["queue"]["arguments"] = arguments[INTAKE_QUEUE]
    amqp["deadLetters"]["x-queue"]["arguments"] = arguments[DEAD_LETTER_QUEUE]
    async with serving(arguments) as client:
        assert (await client.get(f"{PATH}/asyncapi.yaml")).text == to_yaml(built)
        assert (await client.get(f"{PATH}/")).text == page(built)
    assert "x-queue-type: &quot;classic&quot;" not in page(built)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", "text/html"),
        ("style.css", "text/css"),
        ("docs.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
        ("asyncapi.yaml", "application/yaml; charset=utf-8"),
    ],
)
async def test_a_file_is_served_with_its_type(client: httpx.AsyncClient, name: str, kind: str) -> None:
    answer = await client.get(f"{PATH}/{name}")
    assert answer.headers["content-type"].startswith(kind)


@pytest.mark.parametrize("address", ["/", "/docs", "/docs/", PATH])
async def test_a_short_address_leads_to_the_page_behind_any_prefix(client: httpx.AsyncClient, address: str) -> None:
    answer = await client.get(address)
    assert answer.status_code == 307
    outside = httpx.URL("https://proxy.example/prefix" + address).join(answer.headers["location"])
    assert outside.path == f"/prefix{PATH}/"
    assert (await client.get(address, follow_redirects=True)).text.startswith("<!doctype html>")


async def test_the_page_may_load_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{PATH}/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/try", "/../../../app.py", "/%2e%2e/%2e%2e/pyproject.toml", "/nothing.html"])
async def test_nothing_else_is_there(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(PATH + path)).status_code == 404


@pytest.mark.parametrize("path", ["", "/", "/try", "/index.html"])
async def test_nothing_can_be_posted(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.post(PATH + path, json={})).status_code in {404, 405}


async def test_a_worker_without_the_site_runs_without_it(tmp_path: Path) -> None:
    app = web.Application()
    add_docs(app.router, places=(tmp_path,))
    assert list(app.router.routes()) == []


async def test_the_site_is_found_where_the_package_carries_it(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("the contract")
    app = web.Application()
    add_docs(app.router, places=(tmp_path / "missing", tmp_path))
    async with (
        TestServer(app) as server,
        httpx.AsyncClient(verify=NO_TLS, base_url=str(server.make_url("/"))) as client,
    ):
        assert (await client.get(f"{PATH}/")).text == "the contract"
