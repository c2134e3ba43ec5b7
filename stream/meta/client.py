"""The Graph client: one POST for each message, and what Meta's answer means."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson
from aiohttp.hdrs import ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, USER_AGENT

from stream import __version__
from stream.contract.identifiers import PhoneNumberId, Wamid
from stream.meta.classifier import MetaErrorClassifier, has_error
from stream.meta.failure import Certainty, Failure, GraphError
from stream.meta.transport import Transport

AGENT: Final = f"whatsapp-stream/{__version__}"
OK: Final = range(200, 300)
HIDDEN: Final = "***"  # replaces a token in texts


@dataclass(frozen=True, slots=True)
class Accepted:
    """Meta took the message. Delivery to the phone is reported by Meta's webhooks, not here."""

    wamid: Wamid
    wa_id: str | None
    message_status: str | None
    http_status: int


class GraphClient:
    """Sends payloads to `POST {base_url}/{version}/{phone_number_id}/messages`.

    Args:
        transport: Sends the requests; tests replace it.
        base_url: `META_API_BASE_URL`.
        version: `META_API_VERSION`, e.g. `v26.0`.
        timeout_s: Bound on the whole exchange, in seconds.
        classifier: Turns refusals into failures.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        base_url: str,
        version: str,
        timeout_s: float,
        classifier: MetaErrorClassifier,
    ) -> None:
        self._transport = transport
        self._root = f"{base_url.rstrip('/')}/{version}"
        self._timeout_s = timeout_s
        self._classifier = classifier

    async def send(
        self, phone_number_id: PhoneNumberId, access_token: str, payload: bytes, *, leave_within_s: float = math.inf
    ) -> Accepted:
        """Send one payload, once. It leaves within `leave_within_s` seconds or not at all.

        Raises:
            GraphError: With the failure, and whether the message may have been delivered nevertheless.
        """
        url, headers = f"{self._root}/{phone_number_id}/messages", _headers(access_token)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._transport.post(url, headers, payload, leave_within_s=leave_within_s)
        except (httpx.RequestError, TimeoutError) as error:
            # The error quotes an answer that is not HTTP.
            failure = self._classifier.classify_exception(type(error)(str(error).replace(access_token, HIDDEN)))
        else:
            # Meta's texts may quote the token they refuse ("Malformed access token …").
            body = answer.body.replace(access_token.encode(), HIDDEN.encode())
            return self._read(answer.status, body, answer.headers)
        # Raised outside of `except`, so that no error is chained: aiohttp's may hold the request, and so the token.
        raise GraphError(failure)

    def _read(self, status: int, body: bytes, headers: Mapping[str, str]) -> Accepted:
        if status not in OK:
            raise GraphError(self._classifier.classify(status, body, headers))
        if accepted := _accepted(status, body):
            return accepted
        if has_error(body):
            raise GraphError(self._classifier.classify(status, body, headers))
        detail = f"HTTP {status} without messages[0].id: {body[:200].decode(errors='replace')}"
        raise GraphError(Failure.of("INVALID_RESPONSE", detail, Certainty.UNKNOWN))


def _headers(access_token: str) -> dict[str, str]:
    """Build a request's headers. Caching them would save a microsecond, but keep tokens in memory."""
    return {
        AUTHORIZATION: f"Bearer {access_token}",
        CONTENT_TYPE: "application/json",
        USER_AGENT: AGENT,
        ACCEPT_ENCODING: "identity",  # an answer is a few hundred bytes: unpacking would cost more than it saves
    }


def _accepted(status: int, body: bytes) -> Accepted | None:
    """Read a success body. `contacts` may be missing, and `wa_id` is for a recipient that is a BSUID."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    message = _first(content, "messages")
    wamid, state, wa_id = message.get("id"), message.get("message_status"), _first(content, "contacts").get("wa_id")
    if not isinstance(wamid, str) or not wamid:
        return None
    return Accepted(
        wamid=Wamid(wamid),
        wa_id=wa_id if isinstance(wa_id, str) else None,
        message_status=state if isinstance(state, str) else None,
        http_status=status,
    )


def _first(content: object, key: str) -> dict[str, Any]:
    items = content.get(key) if isinstance(content, dict) else None
    return items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else {}
