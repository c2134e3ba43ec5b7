from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest
import structlog

from stream.contract.decoding import decode
from stream.contract.messages import Message
from stream.delivery.outcome import Sent
from stream.meta.failure import Certainty
from stream.tenants.credentials import (
    CredentialError,
    CredentialsInvalid,
    CredentialsSuspended,
    TenantNotFound,
    TenantServiceUnavailable,
)
from tests.unit.doubles import message
from tests.unit.processing import BUSY, FORBIDDEN, OK, REFUSED, World


async def test_a_message_is_sent_with_its_tenants_token_from_its_number_with_its_bytes() -> None:
    world, outbound = World(OK), message()
    outcome = await world.process(outbound)
    assert isinstance(outcome, Sent)
    assert (outcome.accepted.wamid, outcome.sends, outcome.process_s) == ("wamid.A", 1, 1.0)
    (request,) = world.requests
    assert request.url.path == "/v26.0/100000001/messages"
    assert request.headers["Authorization"] == "Bearer token-0"
    assert request.content == outbound.payload_bytes
    assert world.provider.asked == ["acme"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (TenantNotFound, "TENANT_NOT_FOUND"),
        (CredentialsSuspended, "CREDENTIALS_SUSPENDED"),
        (CredentialsInvalid, "CREDENTIALS_INVALID"),
        (TenantServiceUnavailable, "TENANT_SERVICE_UNAVAILABLE"),
    ],
)
async def test_a_credential_error_has_its_type_and_nothing_is_sent(kind: type[CredentialError], expected: str) -> None:
    world = World(error=kind("why"))
    failed = await world.failed()
    assert (failed.failure.rule.name, failed.failure.detail) == (expected, "why")
    assert failed.failure.certainty is Certainty.NOT_SENT
    assert (failed.sends, world.requests) == (0, [])


@pytest.mark.parametrize("kind", CredentialError.__subclasses__(), ids=lambda kind: kind.__name__)
async def test_no_credential_error_is_unforeseen(kind: type[CredentialError]) -> None:
    assert (await World(error=kind("why")).failed()).failure.rule.name != "INTERNAL_ERROR"


@pytest.mark.parametrize(
    "kind",
    ["text", "template", "image", "video", "audio", "document", "sticker", "location", "interactive", "reaction"],
)
async def test_each_documented_type_is_sent(kind: str) -> None:
    assert isinstance(await World(OK).process(message(kind, {})), Sent)


async def test_contacts_are_sent() -> None:
    assert isinstance(await World(OK).process(message("contacts", [{}])), Sent)


@pytest.mark.parametrize("content", [{"a": 1}, [1]])
async def test_a_type_that_is_not_known_yet_is_forwarded(content: object) -> None:
    world, outbound = World(OK), message("hologram", content)
    assert isinstance(await world.process(outbound), Sent)
    assert world.requests[0].content == outbound.payload_bytes


@pytest.mark.parametrize("refusal", [REFUSED, FORBIDDEN], ids=["token", "permission"])
async def test_a_refused_token_is_forgotten_and_the_message_sent_once_more_at_once(refusal: httpx.Response) -> None:
    world = World(refusal, OK)
    outcome = await world.process()
    assert isinstance(outcome, Sent)
    assert outcome.sends == 2
    assert world.provider.forgotten == [("acme", "token-0")]
    assert world.tokens == ["Bearer token-0", "Bearer token-1"]


async def test_every_request_of_a_try_belongs_to_one_claim() -> None:
    world = World(REFUSED, OK)
    await world.process()
    assert len(world.ledger.owners) == 1


async def test_a_token_that_is_refused_twice_is_given_up_after_two_sends() -> None:
    world = World(REFUSED, REFUSED, OK)
    failed = await world.failed()
    assert (failed.failure.rule.name, failed.sends, failed.tries) == ("AUTH_ERROR", 2, 2)
    assert len(world.provider.forgotten) == 1


async def test_another_failure_of_the_resend_is_the_outcome() -> None:
    failed = await World(REFUSED, BUSY).failed()
    assert (failed.failure.rule.name, failed.sends) == ("META_SERVER_ERROR", 2)


async def test_credentials_that_cannot_be_fetched_anew_are_the_outcome() -> None:
    world = World(REFUSED)

    async def forget(_tenant_id: str, _failed_token: str) -> None:
        world.provider.error = CredentialsSuspended("suspended meanwhile")

    world.provider.forget = forget  # type: ignore[method-assign,assignment]
    failed = await world.failed()
    assert (failed.failure.rule.name, failed.sends) == ("CREDENTIALS_SUSPENDED", 1)


@pytest.mark.parametrize("answer", [BUSY, httpx.ReadTimeout("silence"), httpx.ConnectError("refused")])
async def test_only_refused_credentials_are_sent_again_within_the_try(answer: httpx.Response | Exception) -> None:
    world = World(answer, OK)
    failed = await world.failed()
    assert (failed.sends, len(world.requests), world.provider.forgotten) == (1, 1, [])


@pytest.mark.parametrize(
    ("world", "certainty"),
    [
        (World(ValueError("boom")), Certainty.UNKNOWN),
        (World(error=RuntimeError("boom")), Certainty.NOT_SENT),
    ],
    ids=["while-sending", "while-fetching-credentials"],
)
async def test_what_nobody_foresaw_is_an_internal_error_and_sent_only_if_it_may_have_left(
    world: World, certainty: Certainty
) -> None:
    with structlog.testing.capture_logs() as lines:
        failed = await world.failed()
    assert [line["event"] for line in lines] == ["unexpected_error"]
    assert failed.failure.rule.name == "INTERNAL_ERROR"
    assert "boom" in failed.failure.detail
    assert failed.failure.certainty is certainty


@pytest.mark.parametrize("depth", [100, 250])
async def test_a_payload_of_any_depth_that_was_decoded_is_sent(depth: int) -> None:
    raw = (
        b'{"metadata":{"tenantId":"acme","phoneNumberId":"1","internalId":"a"},"wabaPayload":{"type":"text","text":%s}}'
    )
    outbound = decode(raw % (b'{"a":' * depth + b"1" + b"}" * depth))
    assert isinstance(await World(OK).process(outbound), Sent)


async def test_the_token_is_in_no_text_of_the_outcome() -> None:
    def quoting(code: int) -> httpx.Response:
        return httpx.Response(400, json={"error": {"code": code, "message": "Malformed access token token-0 token-1"}})

    failed = await World(quoting(190), quoting(100)).failed()
    assert "token-1" not in repr(failed)


@pytest.mark.parametrize(
    "to",
    [
        "+16505551234",
        "16505551234",
        "Y2FwaV9ncm91cDox",
        "us.1349",
        "USA.1349",
        "US1349",
        "US.",
        "US.13-49",
        "US." + "9" * 129,
        "",
    ],
)
async def test_what_is_no_business_scoped_user_id_is_left_to_meta(to: str) -> None:
    assert isinstance(await World(OK).process(message_to(to)), Sent)


async def test_a_business_scoped_user_id_in_recipient_is_sent() -> None:
    payload = {"recipient": "US.13491208655302741918", "type": "text", "text": {"body": "Hello"}}
    assert isinstance(await World(OK).process(outbound(payload)), Sent)


def message_to(to: str) -> Message:
    return outbound({"to": to, "type": "text", "text": {"body": "Hello"}})


def outbound(payload: dict[str, Any]) -> Message:
    who = {"tenantId": "acme", "phoneNumberId": "100000001", "internalId": "order-4711"}
    return decode(orjson.dumps({"metadata": who, "wabaPayload": payload}))


async def test_a_token_that_comes_again_after_meta_refused_it_is_not_sent_again() -> None:
    world = World(REFUSED)
    world.provider.stubborn = True
    failed = await world.failed()
    assert (failed.failure.rule.name, failed.sends) == ("AUTH_ERROR", 1)
    assert (world.tokens, world.ledger.story[-1]) == (["Bearer token-0"], "released")
