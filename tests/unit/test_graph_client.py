from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import __version__
from stream.contract.identifiers import PhoneNumberId
from stream.meta.classifier import MetaErrorClassifier
from stream.meta.client import Accepted, GraphClient
from stream.meta.exchange import ANSWER_MAX_BYTES
from stream.meta.failure import Certainty, Failure, GraphError
from stream.meta.transport import HonestTransport, Transport
from tests.unit.seam import OverHttpx

NUMBER = PhoneNumberId("100000001")
TOKEN = "EAAGtoken0123456789"
WAMID = "wamid.HBgLMTY0NjcwNDM1OTUVAgARGBI1RjQyNUE3NEYxMzAzMzQ5MkEA"
ACCEPTED = {"messaging_product": "whatsapp", "messages": [{"id": WAMID}]}

Handler = Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Awaitable[httpx.Response]]


def client(handler: Any, *, base_url: str = "https://graph.example", timeout_s: float = 10) -> GraphClient:
    return over(OverHttpx(httpx.MockTransport(handler)), base_url, timeout_s=timeout_s)


def over(transport: Transport, base_url: str, *, timeout_s: float = 10) -> GraphClient:
    return GraphClient(
        transport, base_url=base_url, version="v26.0", timeout_s=timeout_s, classifier=MetaErrorClassifier()
    )


async def sent(handler: Any, payload: bytes = b"{}", **options: Any) -> Accepted:
    return await client(handler, **options).send(NUMBER, TOKEN, payload)


async def failed(handler: Any, **options: Any) -> Failure:
    with pytest.raises(GraphError) as caught:
        await sent(handler, **options)
    return caught.value.failure


async def requested(payload: bytes = b"{}", **options: Any) -> httpx.Request:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ACCEPTED)

    await sent(handler, payload, **options)
    (request,) = seen
    return request


def answering(status: int, **response: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _request: httpx.Response(status, **response)


@pytest.mark.parametrize("base_url", ["https://graph.example", "https://graph.example/"])
async def test_it_posts_to_the_numbers_messages_under_the_configured_version(base_url: str) -> None:
    request = await requested(base_url=base_url)
    assert request.method == "POST"
    assert str(request.url) == "https://graph.example/v26.0/100000001/messages"


async def test_it_says_who_asks_and_with_whose_token() -> None:
    headers = (await requested()).headers
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["User-Agent"] == f"whatsapp-stream/{__version__}"
    assert headers["Content-Type"] == "application/json"
    assert headers["Accept-Encoding"] == "identity"


async def test_two_numbers_of_one_client_do_not_mix() -> None:
    urls: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        urls.append(request.url.path)
        return httpx.Response(200, json=ACCEPTED)

    graph = client(handler)
    for number in ("1", "2", "1"):
        await graph.send(PhoneNumberId(number), TOKEN, b"{}")
    assert urls == ["/v26.0/1/messages", "/v26.0/2/messages", "/v26.0/1/messages"]


@given(payload=st.binary(max_size=200))
async def test_the_body_is_sent_byte_for_byte(payload: bytes) -> None:
    assert (await requested(payload)).content == payload


@pytest.mark.parametrize(
    ("body", "wa_id", "state"),
    [
        ({"contacts": [{"input": "+1650", "wa_id": "1650"}], "messages": [{"id": WAMID}]}, "1650", None),
        ({"contacts": [{"input": "US.134", "user_id": "US.134"}], "messages": [{"id": WAMID}]}, None, None),
        ({"contacts": [], "messages": [{"id": WAMID}]}, None, None),
        ({"messages": [{"id": WAMID}]}, None, None),
        ({"contacts": None, "messages": [{"id": WAMID, "message_status": "accepted"}]}, None, "accepted"),
        ({"contacts": [{"wa_id": 1650}], "messages": [{"id": WAMID, "message_status": 1}]}, None, None),
        (
            {"messages": [{"id": WAMID, "message_status": "held_for_quality_assessment"}, {"id": "second"}]},
            None,
            "held_for_quality_assessment",
        ),
    ],
)
async def test_an_accepted_message_has_its_id_and_what_else_is_known(
    body: dict[str, Any], wa_id: str | None, state: str | None
) -> None:
    accepted = await sent(answering(200, json=body))
    assert (accepted.wamid, accepted.wa_id, accepted.message_status) == (WAMID, wa_id, state)
    assert accepted.http_status == 200


@pytest.mark.parametrize(
    "response",
    [
        {"json": {"success": True}},
        {"json": {"messages": []}},
        {"json": {"messages": [{"id": ""}]}},
        {"json": {"messages": [{"id": 5}]}},
        {"json": {"messages": {"id": WAMID}}},
        {"json": ["messages"]},
        {"content": b""},
        {"content": b"<html>"},
        {"content": b"\xff"},
    ],
)
async def test_success_without_a_message_id_may_have_been_delivered(response: dict[str, Any]) -> None:
    failure = await failed(answering(200, **response))
    assert failure.rule.name == "INVALID_RESPONSE"
    assert failure.certainty is Certainty.UNKNOWN


@pytest.mark.parametrize("status", [301, 400, 401, 429, 500])
async def test_another_status_is_a_refusal(status: int) -> None:
    failure = await failed(answering(status, json={"error": {"code": 131047, "fbtrace_id": "Az8"}}))
    assert failure.rule.name == "WINDOW_EXPIRED"
    assert (failure.certainty, failure.http_status, failure.fbtrace_id) == (Certainty.REJECTED, status, "Az8")


async def test_metas_retry_after_is_handed_on() -> None:
    assert (await failed(answering(429, headers={"retry-after": "45"}))).retry_after_s == 45


@pytest.mark.parametrize("status", [200, 400, 401, 502])
@pytest.mark.parametrize("body", [f'{{"error":{{"code":190,"message":"Malformed access token {TOKEN}"}}}}', TOKEN])
async def test_a_token_that_meta_quotes_reaches_no_text(status: int, body: str) -> None:
    failure = await failed(answering(status, text=body))
    assert TOKEN not in failure.detail
    assert TOKEN not in str(GraphError(failure))
    assert "***" in failure.detail


@pytest.mark.parametrize(
    ("error", "certainty"),
    [
        (httpx.ConnectError("refused"), Certainty.NOT_SENT),
        (httpx.PoolTimeout("no connection"), Certainty.NOT_SENT),
        (httpx.ReadTimeout("silence"), Certainty.UNKNOWN),
        (httpx.ReadError("reset"), Certainty.UNKNOWN),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_transport_error_is_a_network_error(error: httpx.TransportError, certainty: Certainty) -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        raise error

    failure = await failed(handler)
    assert failure.rule.name == "NETWORK_ERROR"
    assert failure.certainty is certainty


async def test_an_answer_that_cannot_be_decompressed_leaves_the_outcome_unknown() -> None:
    async def body() -> Any:
        yield b"not gzip at all"

    failure = await failed(answering(200, headers={"content-encoding": "gzip"}, content=body()))
    assert failure.certainty is Certainty.UNKNOWN


@pytest.mark.parametrize("filler", ["", "x" * 400])  # the longer one ends within the token where the detail is cut
async def test_a_token_that_an_answer_without_http_quotes_reaches_no_text(filler: str) -> None:
    async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nAuthorization {filler}{TOKEN}\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    transport = HonestTransport(1)
    async with await asyncio.start_server(echoes, "127.0.0.1", 0) as server:
        graph = over(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(GraphError) as caught:
            await graph.send(NUMBER, TOKEN, b"{}")
        await transport.aclose()
    error = caught.value
    assert error.failure.certainty is Certainty.UNKNOWN
    assert "Authorization" in error.failure.detail
    assert TOKEN[:8] not in error.failure.detail + repr(error)
    assert (error.__cause__, error.__context__) == (None, None)  # aiohttp's error would hold the request's headers


async def test_silence_after_the_request_left_is_bounded_and_unknown() -> None:
    async def is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    transport = HonestTransport(1, connect_s=0.02)
    async with await asyncio.start_server(is_silent, "127.0.0.1", 0) as server:
        graph = over(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=0.04)
        with pytest.raises(GraphError) as caught:
            await graph.send(NUMBER, TOKEN, b"{}")
        await transport.aclose()
    assert caught.value.failure.certainty is Certainty.UNKNOWN


async def test_the_whole_exchange_is_bounded_in_time() -> None:
    async def handler(_request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    failure = await failed(handler, timeout_s=0.01)
    assert failure.rule.name == "NETWORK_ERROR"
    assert failure.certainty is Certainty.UNKNOWN


async def test_an_answer_that_trickles_is_bounded_in_time_too() -> None:
    async def body() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    assert (await failed(answering(200, content=body()), timeout_s=0.01)).certainty is Certainty.UNKNOWN


@pytest.mark.parametrize(
    ("status", "rule", "certainty"),
    [
        (200, "INVALID_RESPONSE", Certainty.UNKNOWN),
        (400, "META_REJECTED", Certainty.REJECTED),
        (401, "AUTH_ERROR", Certainty.REJECTED),
        (429, "RATE_LIMIT", Certainty.REJECTED),
        (503, "META_SERVER_ERROR", Certainty.REJECTED),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
async def test_of_an_answer_beyond_the_bound_the_status_decides(
    status: int, rule: str, certainty: Certainty, *, packed: bool
) -> None:
    error = b'{"error": {"code": 131047, "message": "%s"}}' % (b"x" * 2 * ANSWER_MAX_BYTES)
    encoding, body = ("gzip", gzip.compress(error)) if packed else ("identity", error)

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} Status\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    transport = HonestTransport(1)
    async with await asyncio.start_server(answers, "127.0.0.1", 0) as server:
        graph = over(transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(GraphError) as caught:
            await graph.send(NUMBER, TOKEN, b"{}")
        await transport.aclose()
    assert (caught.value.failure.rule.name, caught.value.failure.certainty) == (rule, certainty)
