"""A simulator of `POST /{version}/{phone-number-id}/messages` of Meta's Graph API.

It checks a request as Meta does, then follows the script of the recipient: one given by `script()`, or the one of a
magic number (see `sandbox.numbers`), or plain success.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sandbox.answers import accepted_body, error_body, graph_headers, new_wamid
from sandbox.graph_errors import describe
from sandbox.numbers import digits, steps_for
from sandbox.records import Recorded, Records
from sandbox.server import SimulatedServer, cut_in_half, reset_connection
from sandbox.steps import Accept, Answer, Delay, Drop, Fail, Reply, Step, step_from_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UNAUTHORIZED = 401


class GraphSimulator(SimulatedServer):
    """A Graph API that behaves as Meta documents it, and fails as a script says."""

    def __init__(self, keep: int | None = None) -> None:
        super().__init__()
        self.revoked: set[str] = set()
        self.absent_templates: set[str] = set()  # names that no template has
        self.outage: Answer | None = None  # what everybody is answered instead of anything else
        self._records = Records(keep)
        self._scripts: dict[str, Iterator[Step]] = {}

    @property
    def requests(self) -> list[Recorded]:
        """Every request that arrived (or the newest ones, see `keep`), oldest first."""
        return list(self._records.requests)

    @property
    def accepted(self) -> list[Recorded]:
        """The requests whose message was taken, also those whose caller got no answer."""
        return [request for request in self._records.requests if request.wamid is not None]

    def by_recipient(self, to: str) -> list[Recorded]:
        """The requests for one recipient, oldest first."""
        return self._records.by_recipient(to)

    def arrivals(self, to: str) -> list[float]:
        """When the requests for one recipient arrived, on the monotonic clock."""
        return [request.received_at for request in self.by_recipient(to)]

    def twice(self) -> dict[tuple[str, str], int]:
        """The messages (phone number id, digest of the body) that were accepted more than once, and how often."""
        return self._records.twice()

    def script(self, to: str, steps: Iterable[Step]) -> None:
        """Say what happens to the next requests for a recipient; after the last step, success."""
        self._scripts[digits(to)] = iter(list(steps))

    def revoke(self, token: str) -> None:
        """Treat a token as expired from now on."""
        self.revoked.add(token)

    def summary(self) -> dict[str, Any]:
        """The counts of everything since the start or the last reset."""
        return self._records.summary()

    def reset(self) -> None:
        """Forget all requests, scripts, revoked tokens and absent templates."""
        self._records.clear()
        self._scripts.clear()
        self.revoked.clear()
        self.absent_templates.clear()
        self.outage = None

    def routes(self) -> Iterable[web.RouteDef]:
        """The send endpoint, and what a test in another process needs."""
        return [
            web.post("/{version}/{phone_number_id}/messages", self._post_message),
            web.get("/_sandbox/requests", self._get_requests),
            web.post("/_sandbox/script", self._post_script),
            web.post("/_sandbox/revoke", self._post_revoke),
        ]

    async def _post_message(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        payload, token = _json_object(body), _bearer(request)
        answer, delay = self._decide(payload, token)
        record = _record(request, body, payload, token, answer)
        self._records.add(record)
        await asyncio.sleep(delay)
        return await _respond(request, answer, record)

    def _decide(self, payload: dict[str, Any] | None, token: str) -> tuple[Answer, float]:
        if self.outage is not None:
            return self.outage, 0.0
        if refusal := self._check_token(token) or _check_payload(payload) or self._check_template(payload):
            return refusal, 0.0
        if payload is None or payload.get("status") == "read":
            return Reply(200, {"success": True}), 0.0
        return self._next_answer(_recipient(payload))

    def _check_token(self, token: str) -> Fail | None:
        if not token:
            return Fail(104)
        if token in self.revoked or token.startswith("EAAGexpired"):
            return Fail(190, 463)
        return None

    def _check_template(self, payload: dict[str, Any] | None) -> Fail | None:
        template = (payload or {}).get("template")
        name = template.get("name") if isinstance(template, dict) else None
        if name not in self.absent_templates:
            return None
        return Fail(132001, details=f"Template name ({name}) does not exist in the translation.")

    def _next_answer(self, recipient: str) -> tuple[Answer, float]:
        # One request takes the delays and the answer behind them together, so that no concurrent request takes a part.
        script = self._scripts.get(recipient) or steps_for(recipient)
        if script is None:
            return Accept(), 0.0
        self._scripts[recipient] = script
        delay = 0.0
        for step in script:
            if not isinstance(step, Delay):
                return step, delay
            delay += step.seconds
        return Accept(), delay

    async def _get_requests(self, _: web.Request) -> web.Response:
        return web.json_response([record.to_json() for record in self._records.requests])

    async def _post_script(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        try:
            self.script(wanted["to"], [step_from_json(step) for step in wanted["steps"]])
        except (KeyError, TypeError) as error:
            raise web.HTTPBadRequest(text=f"no such script: {error}") from error
        return web.json_response({"scripted": wanted["to"]})

    async def _post_revoke(self, request: web.Request) -> web.Response:
        self.revoke((await request.json())["token"])
        return web.json_response({"revoked": len(self.revoked)})


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _recipient(payload: dict[str, Any] | None) -> str:
    payload = payload or {}
    return digits(str(payload.get("to") or payload.get("recipient") or ""))


def _check_payload(payload: dict[str, Any] | None) -> Fail | None:
    if payload is None:
        return Fail(100, details="The request body is not a JSON object.")
    if payload.get("messaging_product") != "whatsapp":
        return Fail(100, details="The parameter messaging_product is required.")
    if payload.get("status") == "read":
        return None
    kind = str(payload.get("type", "text"))  # Meta takes a message without a type as text
    if not payload.get(kind):
        return Fail(100, details=f"The parameter {kind} is required.")
    return None if _recipient(payload) else Fail(100, details="The parameter to is required.")


def _record(request: web.Request, body: bytes, payload: dict[str, Any] | None, token: str, answer: Answer) -> Recorded:
    recipient = _recipient(payload)
    return Recorded(
        received_at=time.monotonic(),
        received_wall=time.time(),
        version=request.match_info["version"],
        phone_number_id=request.match_info["phone_number_id"],
        token=token,
        user_agent=request.headers.get("User-Agent", ""),
        body=body,
        digest=hashlib.blake2b(body, digest_size=16).hexdigest(),
        payload=payload,
        recipient=recipient,
        outcome=answer.outcome,
        wamid=new_wamid(recipient) if answer.accepts else None,
    )


async def _respond(request: web.Request, answer: Answer, record: Recorded) -> web.StreamResponse:
    regain_minutes = answer.regain_minutes if isinstance(answer, Fail) else 0
    headers = graph_headers(record.version, record.phone_number_id, regain_minutes)
    match answer:
        case Fail():
            return _refuse(answer, headers)
        case Reply(status=status, body=str() as text):
            return web.Response(text=text, status=status, content_type="text/html", headers=answer.headers)
        case Reply():
            return web.json_response(answer.body, status=answer.status, headers=headers | answer.headers)
        case Drop(mode=0 | 1):
            return reset_connection(request)
    message_status = answer.message_status if isinstance(answer, Accept) else None
    body = accepted_body(record.payload or {}, record.wamid or "", message_status)
    if isinstance(answer, Drop):
        return await cut_in_half(request, json.dumps(body).encode())
    return web.json_response(body, headers=headers)


def _refuse(answer: Fail, headers: dict[str, str]) -> web.Response:
    status = answer.http_status or describe(answer.code, answer.subcode)[0]
    if status == UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'OAuth "Facebook Platform" "invalid_token"'
    body = error_body(answer.code, answer.subcode, answer.details)
    return web.json_response(body, status=status, headers=headers | answer.headers)
