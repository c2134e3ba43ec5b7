"""Response bodies and headers as Meta's documents show them."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.graph_errors import describe

# Meta puts no error_data into the errors that are about the access token itself.
TOKEN_CODES = {0, 102, 104, 190}
SESSION_EXPIRED = (190, 463)


def new_wamid(recipient: str) -> str:
    """A message id built like Meta's: base64 of the recipient's number and 18 random hex digits."""
    number = recipient.encode()[:255]
    parts = [
        b"\x1c\x18",
        bytes([len(number)]),
        number,
        b"\x15\x02\x00\x11\x18\x12",
        secrets.token_hex(9).upper().encode(),
    ]
    return "wamid." + base64.b64encode(b"".join(parts) + b"\x00").decode()


def accepted_body(payload: dict[str, Any], wamid: str, message_status: str | None) -> dict[str, Any]:
    """Meta's answer to a message that it takes; a business-scoped user id gets a `user_id` and no `wa_id`."""
    message = {"id": wamid} | ({"message_status": message_status} if message_status else {})
    if payload.get("recipient_type") == "group":
        message["group_id"] = payload["to"]
        return {"messaging_product": "whatsapp", "contacts": [], "messages": [message]}
    if to := payload.get("to"):  # Meta prefers `to` when both are there
        contact = {"input": to, "wa_id": str(to).removeprefix("+")}
    else:
        contact = {"input": payload["recipient"], "user_id": payload["recipient"]}
    return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]}


def error_body(code: int, subcode: int | None = None, details: str | None = None) -> dict[str, Any]:
    """An error in Meta's envelope."""
    _, title = describe(code, subcode)
    error: dict[str, Any] = {"message": f"(#{code}) {title}", "type": "OAuthException", "code": code}
    if (code, subcode) == SESSION_EXPIRED:
        error["message"] = _session_expired()
    if code not in TOKEN_CODES:
        error["error_data"] = {"messaging_product": "whatsapp", "details": details or f"{title}."}
    if subcode is not None:
        error["error_subcode"] = subcode
    return {"error": error | {"fbtrace_id": _trace_id()}}


def graph_headers(version: str, phone_number_id: str, regain_minutes: float = 0) -> dict[str, str]:
    """The headers that Meta documents for every answer of this endpoint."""
    usage = f'"call_count":1,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":{regain_minutes}'
    return {
        "facebook-api-version": version,
        "x-business-use-case-usage": f'{{"{phone_number_id}":[{{"type":"whatsapp",{usage}}}]}}',
        "x-fb-request-id": _trace_id(),
        "x-fb-trace-id": _trace_id(),
    }


def _trace_id() -> str:
    return "A" + secrets.token_urlsafe(17)


def _session_expired() -> str:
    now = datetime.now(UTC)
    form = "%A, %d-%b-%y %H:%M:%S PDT"
    return (
        f"Error validating access token: Session has expired on {now - timedelta(days=2):{form}}. "
        f"The current time is {now:{form}}."
    )
