from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from sandbox.graph import GraphSimulator
from sandbox.graph_errors import ERRORS
from sandbox.steps import Delay, Drop, Fail, Reply
from tests.unit.doubles import NO_TLS

Send = Callable[..., Awaitable[httpx.Response]]

MESSAGES = "/v26.0/100000001/messages"


@pytest.fixture
async def graph() -> AsyncIterator[GraphSimulator]:
    async with GraphSimulator() as simulator:
        yield simulator


@pytest.fixture
async def client(graph: GraphSimulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        verify=NO_TLS, base_url=graph.url, headers={"Authorization": "Bearer EAAGgood"}
    ) as http_client:
        yield http_client


@pytest.fixture
def send(client: httpx.AsyncClient) -> Send:
    async def post(to: str, body: str = "Hello", *, timeout: float = 5, **headers: str) -> httpx.Response:  # noqa: ASYNC109, httpx's own
        payload = {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": body}}
        return await client.post(MESSAGES, json=payload, headers=headers, timeout=timeout)

    return post


async def test_a_message_is_answered_as_meta_documents_it(graph: GraphSimulator, send: Send) -> None:
    response = await send("+16505551234")
    (recorded,) = graph.accepted
    assert response.json() == {
        "messaging_product": "whatsapp",
        "contacts": [{"input": "+16505551234", "wa_id": "16505551234"}],
        "messages": [{"id": recorded.wamid}],
    }
    assert response.headers["facebook-api-version"] == "v26.0"
    assert recorded.body == response.request.content


async def test_a_business_scoped_user_id_gets_no_wa_id(client: httpx.AsyncClient) -> None:
    payload = {"messaging_product": "whatsapp", "recipient": "US.1349", "type": "text", "text": {"body": "Hello"}}
    response = await client.post(MESSAGES, json=payload)
    assert response.json()["contacts"] == [{"input": "US.1349", "user_id": "US.1349"}]


async def test_a_read_receipt_has_no_message_id(graph: GraphSimulator, client: httpx.AsyncClient) -> None:
    payload = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.x"}
    response = await client.post(MESSAGES, json=payload)
    assert response.json() == {"success": True}
    assert graph.accepted == []


@pytest.mark.parametrize("token", ["", "EAAGexpired-1", "EAAGrevoked"])
async def test_a_token_that_is_no_good_gets_401(graph: GraphSimulator, send: Send, token: str) -> None:
    graph.revoke("EAAGrevoked")
    response = await send("16505551234", Authorization=f"Bearer {token}".strip())
    error = response.json()["error"]
    assert response.status_code == 401
    assert (error["code"], error.get("error_subcode")) == ((190, 463) if token else (104, None))
    assert "error_data" not in error


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[]",
        b'{"to":"1","type":"text","text":{"body":"Hello"}}',
        b'{"messaging_product":"whatsapp","to":"1","type":"image"}',
        b'{"messaging_product":"whatsapp","type":"text","text":{"body":"Hello"}}',
    ],
)
async def test_a_body_that_is_no_message_is_an_invalid_parameter(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post(MESSAGES, content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, 100)


async def test_every_known_code_has_a_magic_number_and_its_documented_status(send: Send) -> None:
    documented = {code: status for (code, subcode), (status, _) in ERRORS.items() if subcode is None}
    responses = {code: await send(f"9991{code:07}42") for code in documented}
    assert {code: response.status_code for code, response in responses.items()} == documented
    assert all(response.json()["error"]["code"] == code for code, response in responses.items())


@pytest.mark.parametrize("number", [2388001, 2388002, 2388003, 2388005, 2388009, 2388054])
async def test_a_subcode_comes_beside_code_100_as_graph_sends_it(send: Send, number: int) -> None:
    response = await send(f"9991{number}42")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["error_subcode"]) == (400, 100, number)
    assert error["message"].startswith("(#100) ")


@pytest.mark.parametrize(
    ("number", "statuses"),
    [
        ("9992201304291", [400, 400, 200]),
        ("99932500", [500, 500, 200]),
        ("99939502", [502, 502, 502]),
        ("99966", [429, 200]),
        ("99967", [400, 200]),
        ("+99967", [400, 200]),
    ],
)
async def test_a_magic_number_fails_as_often_as_it_says(send: Send, number: str, statuses: list[int]) -> None:
    assert [(await send(number)).status_code for _ in statuses] == statuses


@pytest.mark.parametrize(("mode", "accepted"), [(0, 1), (1, 2), (2, 2)])
async def test_a_dropped_connection_tells_the_caller_nothing(
    graph: GraphSimulator, send: Send, mode: int, accepted: int
) -> None:
    number = f"99951{mode}1"
    with pytest.raises(httpx.TransportError):
        await send(number)
    assert (await send(number)).status_code == 200
    assert len(graph.accepted) == accepted
    assert list(graph.twice().values()) == ([2] if accepted == 2 else [])


async def test_a_slow_answer_is_for_a_message_that_was_taken_on_arrival(graph: GraphSimulator, send: Send) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await send("9994003001", timeout=0.1)
    assert len(graph.by_recipient("9994003001")) == len(graph.accepted) == 1


async def test_a_script_of_a_test_wins_and_ends_in_success(graph: GraphSimulator, send: Send) -> None:
    graph.script("+16505551234", [Fail(131056, http_status=429), Delay(0.05), Reply(503, "busy"), Drop(0)])
    assert (await send("16505551234")).status_code == 429
    assert (await send("16505551234")).text == "busy"
    with pytest.raises(httpx.TransportError):
        await send("16505551234")
    assert (await send("16505551234")).status_code == 200
    first, *_, last = graph.arrivals("16505551234")
    assert last - first >= 0.05


async def test_refused_requests_are_never_counted_as_twice(graph: GraphSimulator, send: Send) -> None:
    for _ in range(3):
        await send("9992201310561")
    await send("16505551234", "one")
    await send("16505551234", "two")
    assert graph.twice() == {}
    assert graph.summary()["accepted_distinct"] == 3
    assert graph.summary()["errors"] == {"131056": 2}


async def test_the_counts_stay_exact_when_old_requests_are_forgotten() -> None:
    async with (
        GraphSimulator(keep=2) as graph,
        httpx.AsyncClient(verify=NO_TLS, headers={"Authorization": "Bearer x"}) as client,
    ):
        payload = {"messaging_product": "whatsapp", "to": "1", "type": "text", "text": {"body": "Hello"}}
        for _ in range(5):
            await client.post(graph.url + MESSAGES, json=payload)
        assert len(graph.requests) == len(graph.by_recipient("1")) == 2
        assert list(graph.twice().values()) == [5]


async def test_another_process_can_script_and_ask_but_never_sees_a_token(
    graph: GraphSimulator, client: httpx.AsyncClient, send: Send
) -> None:
    await client.post("/_sandbox/script", json={"to": "1650", "steps": [{"step": "fail", "code": 131026}]})
    await client.post("/_sandbox/revoke", json={"token": "EAAGother"})
    assert (await send("1650")).json()["error"]["code"] == 131026
    assert (await send("1650", Authorization="Bearer EAAGother")).status_code == 401
    assert "EAAG" not in (await client.get("/_sandbox/requests")).text + repr(graph.requests)
    await client.post("/_sandbox/reset")
    assert (await client.get("/_sandbox/summary")).json()["requests"] == 0


async def test_an_outage_ends_on_the_port_where_it_began(graph: GraphSimulator, send: Send) -> None:
    await graph.stop()
    with pytest.raises(httpx.ConnectError):
        await send("1650")
    await graph.start()
    assert (await send("1650")).status_code == 200
