from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import httpx
import pytest

from stream.app import build
from stream.meta.exchange import ANSWER_MAX_BYTES
from stream.meta.transport import HonestTransport
from stream.settings import Settings

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Door = Callable[[HonestTransport, str], Awaitable[tuple[int, bytes]]]

BODY = b'{"to":"+16505551234"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"


@pytest.fixture
async def transport() -> AsyncIterator[HonestTransport]:
    built = HonestTransport(10)
    yield built
    await built.aclose()


class Server:
    """A socket on this machine that treats each connection as its script says."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._script(reader, writer)
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))


def reset(writer: asyncio.StreamWriter) -> None:
    # A close with a linger time of zero sends RST instead of FIN.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def resets_after_the_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


async def closes_after_the_request(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await read_request(reader)


async def resets_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def closes_at_once(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    return


async def closes_within_the_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(ANSWER[:30])


async def closes_within_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(ANSWER + b'{"mess')


async def closes_within_a_chunk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{")


async def speaks_no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(ANSWER + b'{"ok": true}')


async def is_silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await reader.read()  # until the other side gives up


async def stalls_within_the_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(ANSWER + b'{"mess')
    await reader.read()


async def speaks_plain_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def post(transport: HonestTransport, url: str, *, read_s: float = 5, pool_s: float = 5) -> httpx.Response:
    limits = {"connect": 5.0, "pool": pool_s, "read": read_s, "write": 5.0}
    request = httpx.Request("POST", url, content=BODY, extensions={"timeout": limits})
    return await transport.handle_async_request(request)


async def through_post(transport: HonestTransport, url: str) -> tuple[int, bytes]:
    answer = await transport.post(url, {"Authorization": "Bearer EAAG"}, BODY)
    return answer.status, answer.body


async def through_httpx(transport: HonestTransport, url: str) -> tuple[int, bytes]:
    response = await post(transport, url)
    return response.status_code, response.content


@pytest.fixture(params=[through_post, through_httpx], ids=lambda door: door.__name__)
def door(request: pytest.FixtureRequest) -> Door:
    """Both ways in keep the same promises."""
    found: Door = request.param
    return found


async def test_an_answer_arrives_whole(transport: HonestTransport, door: Door) -> None:
    async with Server(answers) as port:
        assert await door(transport, f"http://127.0.0.1:{port}/") == (200, b'{"ok": true}')


async def test_a_post_sends_what_it_was_given_and_little_else(transport: HonestTransport) -> None:
    heads: list[bytes] = []

    async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        heads.append(await reader.readexactly(len(BODY)))
        writer.write(ANSWER + b'{"ok": true}')

    headers = {"Authorization": "Bearer EAAG", "User-Agent": "stream", "Accept-Encoding": "identity"}
    async with Server(listens) as port:
        await transport.post(f"http://127.0.0.1:{port}/v26.0/1/messages", headers | {"Content-Type": "x/y"}, BODY)
    head, body = heads
    first, *rest = head.decode().strip().split("\r\n")
    assert (first, body) == ("POST /v26.0/1/messages HTTP/1.1", BODY)
    assert sorted(rest) == [
        "Accept-Encoding: identity",
        "Authorization: Bearer EAAG",
        f"Content-Length: {len(BODY)}",
        "Content-Type: x/y",
        f"Host: 127.0.0.1:{port}",
        "User-Agent: stream",
    ]


async def test_a_header_whose_value_would_end_early_is_not_sent(transport: HonestTransport) -> None:
    arrived = asyncio.get_running_loop().create_future()

    async def listens(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        arrived.set_result(await reader.read())

    async with Server(listens) as port:
        with pytest.raises(ValueError, match="line break"):
            await transport.post(f"http://127.0.0.1:{port}/", {"Authorization": "Bearer EAAG\r\nHost: elsewhere"}, BODY)
        assert await arrived == b""


@pytest.mark.parametrize("content", [b"", b"ok"], ids=["empty", "not empty"])
async def test_the_length_of_a_content_is_sent_and_nothing_that_contradicts_it(
    transport: HonestTransport, content: bytes
) -> None:
    heads: list[bytes] = []

    async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ANSWER + b'{"ok": true}')

    async def streamed() -> AsyncIterator[bytes]:
        yield content

    async with Server(listens) as port:
        await transport.handle_async_request(httpx.Request("POST", f"http://127.0.0.1:{port}/", content=streamed()))
    assert b"Content-Length: %d\r\n" % len(content) in heads[0]
    assert b"transfer-encoding" not in heads[0].lower()


async def test_the_answer_to_a_head_has_no_body_and_keeps_its_connection(transport: HonestTransport) -> None:
    connections = 0

    async def tells_the_length(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(ANSWER)

    async with Server(tells_the_length) as port, asyncio.timeout(2):
        for _ in range(2):
            response = await transport.handle_async_request(httpx.Request("HEAD", f"http://127.0.0.1:{port}/"))
            assert (response.status_code, response.content) == (200, b"")
        await transport.aclose()
    assert connections == 1


async def test_what_is_left_of_a_request_that_was_answered_early_does_not_delay_the_next_one(
    transport: HonestTransport,
) -> None:
    over = asyncio.Event()

    async def answers_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await over.wait()

    async with Server(answers_early) as port, asyncio.timeout(2):
        for content in (bytes(32 * 1024 * 1024), BODY):  # the first is more than the kernel takes at once
            assert (await transport.post(f"http://127.0.0.1:{port}/", {}, content)).status == 413
        over.set()


async def test_an_interim_answer_is_not_taken_for_the_answer(transport: HonestTransport, door: Door) -> None:
    async def hints_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        writer.write(ANSWER + b'{"ok": true}')

    async with Server(hints_first) as port:
        assert await door(transport, f"http://127.0.0.1:{port}/") == (200, b'{"ok": true}')


async def test_a_header_of_an_answer_is_found_however_it_is_spelt(transport: HonestTransport) -> None:
    async with Server(answers) as port:
        answer = await transport.post(f"http://127.0.0.1:{port}/", {}, BODY)
    assert answer.headers.get("content-type") == answer.headers.get("Content-Type") == "application/json"


async def test_an_answer_shows_neither_its_body_nor_its_headers(transport: HonestTransport) -> None:
    async with Server(answers) as port:
        assert repr(await transport.post(f"http://127.0.0.1:{port}/", {}, BODY)) == "Answer(status=200)"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer(transport: HonestTransport, door: Door, status: int) -> None:
    connections = 0

    async def redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        writer.write(b"HTTP/1.1 %d Elsewhere\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n" % status)

    async with Server(redirects) as port:
        assert await door(transport, f"http://127.0.0.1:{port}/") == (status, b"")
    assert connections == 1


async def packed_answer(
    encoding: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await read_request(reader)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding, len(body))
    writer.write(head + body)


async def test_a_packed_answer_is_read_though_nobody_asked_for_it(transport: HonestTransport, door: Door) -> None:
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(b'{"ok": true}') + packer.flush()
    async with Server(partial(packed_answer, b"gzip", packed)) as port:
        assert await door(transport, f"http://127.0.0.1:{port}/") == (200, b'{"ok": true}')


@pytest.mark.parametrize(("encoding", "body"), [(b"gzip", b"not gzip at all"), (b"br", b"\x0b\x05\x80"), (b"", b"x")])
async def test_an_answer_of_meta_that_cannot_be_unpacked_has_its_status_all_the_same(
    transport: HonestTransport, encoding: bytes, body: bytes
) -> None:
    async with Server(partial(packed_answer, encoding, body)) as port:
        assert await through_post(transport, f"http://127.0.0.1:{port}/") == (200, b"")
        with pytest.raises(httpx.DecodingError):
            await through_httpx(transport, f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
async def test_what_an_answer_unpacks_to_is_read_up_to_a_bound(
    transport: HonestTransport, door: Door, encoding: bytes
) -> None:
    packer = zlib.compressobj(wbits=31 if encoding == b"gzip" else 15)
    packed = b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(32)) + packer.flush()
    assert len(packed) < ANSWER_MAX_BYTES
    async with Server(partial(packed_answer, encoding, packed)) as port:
        tracemalloc.start()
        status, body = await door(transport, f"http://127.0.0.1:{port}/")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (status, body) == (200, bytes(ANSWER_MAX_BYTES))
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize("head", [b"Content-Length: 1073741824", b"Transfer-Encoding: chunked", b"Connection: close"])
async def test_an_answer_is_read_up_to_a_bound_and_its_connection_closed(
    transport: HonestTransport, door: Door, head: bytes
) -> None:
    gone = asyncio.Event()
    piece = b"x" * 65_536
    framed = b"10000\r\n%s\r\n" % piece if b"chunked" in head else piece

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 503 Busy\r\n%s\r\n\r\n" % head)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(framed)
                await writer.drain()
        gone.set()

    async with Server(floods) as port:
        assert await door(transport, f"http://127.0.0.1:{port}/") == (503, b"x" * ANSWER_MAX_BYTES)
        async with asyncio.timeout(5):
            await gone.wait()


async def test_an_answer_of_just_the_bound_is_whole_and_its_connection_kept(
    transport: HonestTransport, door: Door
) -> None:
    connections = 0

    async def answers_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(2):
            await read_request(reader)
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head + b"40000\r\n" + b"x" * ANSWER_MAX_BYTES + b"\r\n0\r\n\r\n")

    async with Server(answers_twice) as port:
        for _ in range(2):
            assert await door(transport, f"http://127.0.0.1:{port}/") == (200, b"x" * ANSWER_MAX_BYTES)
    assert connections == 1


@pytest.mark.parametrize(
    "script",
    [
        resets_after_the_request,
        closes_after_the_request,
        resets_at_once,
        closes_at_once,
        closes_within_the_headers,
        closes_within_the_answer,
    ],
    ids=lambda script: script.__name__,
)
async def test_a_connection_that_breaks_once_it_was_made_is_a_read_error(
    transport: HonestTransport, door: Door, script: Script
) -> None:
    async with Server(script) as port:
        with pytest.raises(httpx.ReadError) as caught:
            await door(transport, f"http://127.0.0.1:{port}/")
    assert str(caught.value)


async def test_an_answer_that_is_not_http_is_a_read_error(transport: HonestTransport, door: Door) -> None:
    async with Server(speaks_no_http) as port:
        with pytest.raises(httpx.ReadError):
            await door(transport, f"http://127.0.0.1:{port}/")


async def test_a_kept_connection_that_breaks_is_a_read_error_and_nothing_is_sent_twice(
    transport: HonestTransport, door: Door
) -> None:
    connections = 0

    async def answers_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answers(reader, writer)
        await read_request(reader)
        reset(writer)

    async with Server(answers_once) as port:
        await door(transport, f"http://127.0.0.1:{port}/")
        with pytest.raises(httpx.ReadError):
            await door(transport, f"http://127.0.0.1:{port}/")
        await asyncio.sleep(0.02)  # time for a second attempt to arrive over there
    assert connections == 1


@pytest.mark.parametrize(
    "script", [closes_within_the_answer, stalls_within_the_answer], ids=lambda script: script.__name__
)
async def test_an_answer_that_breaks_off_gives_its_place_in_the_pool_back_at_once(script: Script) -> None:
    transport = HonestTransport(1)
    async with Server(script) as broken, Server(answers) as port:
        with pytest.raises(httpx.ReadError) as caught:
            await post(transport, f"http://127.0.0.1:{broken}/", read_s=0.02)
        response = await post(transport, f"http://127.0.0.1:{port}/", pool_s=0.5)
        await transport.aclose()
    assert response.status_code == 200
    assert caught.value.__cause__  # held until here: the place must not depend on the garbage collector


@pytest.mark.parametrize(
    "script", [closes_within_the_answer, closes_within_a_chunk], ids=lambda script: script.__name__
)
async def test_a_post_whose_answer_breaks_off_gives_its_place_in_the_pool_back_at_once(script: Script) -> None:
    transport = HonestTransport(1, connect_s=0.5)
    async with Server(script) as broken, Server(answers) as port:
        with pytest.raises(httpx.ReadError) as caught:
            await transport.post(f"http://127.0.0.1:{broken}/", {}, BODY)
        answer = await transport.post(f"http://127.0.0.1:{port}/", {}, BODY)
        await transport.aclose()
    assert answer.status == 200
    assert caught.value.__cause__  # held until here: the place must not depend on the garbage collector


async def test_a_send_that_is_cut_off_within_the_answer_gives_its_place_in_the_pool_back(door: Door) -> None:
    transport = HonestTransport(1, connect_s=0.5)
    halfway = asyncio.Event()

    async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ANSWER)
        await writer.drain()
        asyncio.get_running_loop().call_later(0.02, halfway.set)  # time for the headers to arrive over there
        await reader.read()

    async with Server(stalls) as broken, Server(answers) as port:
        send = asyncio.ensure_future(door(transport, f"http://127.0.0.1:{broken}/"))
        await halfway.wait()
        send.cancel()
        (cut_off,) = await asyncio.gather(send, return_exceptions=True)
        response = await post(transport, f"http://127.0.0.1:{port}/", pool_s=0.5)
        await transport.aclose()
    assert isinstance(cut_off, asyncio.CancelledError)
    assert response.status_code == 200


async def test_silence_is_a_read_timeout(transport: HonestTransport) -> None:
    async with Server(is_silent) as port:
        with pytest.raises(httpx.ReadTimeout):
            await post(transport, f"http://127.0.0.1:{port}/", read_s=0.02)
        await transport.aclose()


async def test_no_free_connection_is_a_connect_timeout() -> None:
    transport = HonestTransport(1)
    async with Server(is_silent) as port:
        url = f"http://127.0.0.1:{port}/"
        first = asyncio.create_task(post(transport, url))
        await asyncio.sleep(0)
        with pytest.raises((httpx.ConnectTimeout, httpx.PoolTimeout)):
            await post(transport, url, pool_s=0.02)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await transport.aclose()


async def test_a_post_without_a_free_connection_is_a_connect_timeout() -> None:
    transport = HonestTransport(1, connect_s=0.02)
    async with Server(is_silent) as port:
        first = asyncio.create_task(transport.post(f"http://127.0.0.1:{port}/", {}, BODY))
        await asyncio.sleep(0)
        with pytest.raises(httpx.ConnectTimeout):
            async with asyncio.timeout(2):
                await transport.post(f"http://127.0.0.1:{port}/", {}, BODY)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await transport.aclose()


async def never_shakes_hands(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_post_that_hangs_while_it_connects_is_a_connect_timeout() -> None:
    transport = HonestTransport(1, connect_s=0.02)
    async with Server(never_shakes_hands) as port:
        with pytest.raises(httpx.ConnectTimeout):
            async with asyncio.timeout(2):
                await transport.post(f"https://127.0.0.1:{port}/", {}, BODY)
        await transport.aclose()


@pytest.mark.parametrize("connect_s", [None, 60])
async def test_a_post_that_must_leave_soon_waits_no_longer_for_a_connection(connect_s: float | None) -> None:
    transport = HonestTransport(1, connect_s=connect_s)
    async with Server(never_shakes_hands) as port:
        with pytest.raises(httpx.ConnectTimeout):
            async with asyncio.timeout(2):
                await transport.post(f"https://127.0.0.1:{port}/", {}, BODY, leave_within_s=0.02)
        await transport.aclose()


async def test_a_post_that_has_time_waits_as_long_for_a_connection_as_any_other() -> None:
    transport = HonestTransport(1, connect_s=0.02)
    async with Server(never_shakes_hands) as port:
        with pytest.raises(httpx.ConnectTimeout):
            async with asyncio.timeout(2):
                await transport.post(f"https://127.0.0.1:{port}/", {}, BODY, leave_within_s=86_400)
        await transport.aclose()


async def test_the_worker_gives_a_connect_less_time_than_the_whole_exchange() -> None:
    settings = Settings(tenant_service_url="http://tenants.invalid", meta_api_timeout_ms=400)
    transport = build(settings).graph_http
    async with Server(never_shakes_hands) as port:
        with pytest.raises(httpx.ConnectTimeout):
            async with asyncio.timeout(settings.meta_api_timeout_ms / 1000):
                await transport.post(f"https://127.0.0.1:{port}/", {}, BODY)
        await transport.aclose()


async def test_a_refused_port_is_a_connect_error(transport: HonestTransport, door: Door) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refuses, and nobody else can take it
        with pytest.raises(httpx.ConnectError):
            await door(transport, f"http://127.0.0.1:{taken.getsockname()[1]}/")


async def test_a_name_without_an_address_is_a_connect_error(transport: HonestTransport, door: Door) -> None:
    with pytest.raises(httpx.ConnectError):
        await door(transport, "http://graph.invalid/")


async def test_a_failed_tls_handshake_is_a_connect_error(transport: HonestTransport, door: Door) -> None:
    async with Server(speaks_plain_text) as port:
        with pytest.raises(httpx.ConnectError):
            await door(transport, f"https://127.0.0.1:{port}/")
