"""The whole story of one letter: what failed, what Meta said, what would be sent."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Final

import orjson

from stream.contract import headers as names
from stream.meta.errors import ERROR_TABLE
from stream.meta.versions import NEWEST
from stream.observe.redaction import masked_number, redact, without_numbers
from stream.operations.dead_letters.death import POISON
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.looking import Seen

TOKEN: Final = "$ACCESS_TOKEN"  # noqa: S105 - the name of a variable
SHORT: Final = 1_000_000  # a whole number from here on may be a phone number
NO_PHONE: Final = frozenset({"amount_1000", "timestamp", "timestamp_in_ms", names.ERROR_SUBCODE})
PEOPLE: Final = frozenset({"to", "recipient", "phone", "wa_id"})  # fields of a payload that name a person


@dataclass(frozen=True, slots=True)
class Story:
    """One letter in full.

    Attributes:
        letter: What failed.
        headers: All its headers.
        payload: What is sent to Meta; `None` where the body cannot be read.
        curl: A command that repeats the request; the token is left out.
    """

    letter: Letter
    headers: dict[str, Any]
    payload: dict[str, Any] | None
    curl: str | None

    def to_json(self) -> dict[str, Any]:
        """The object that scripts get."""
        row = ERROR_TABLE.get(self.letter.error_type)
        return {
            **self.letter.to_json(),
            "meaning": row.meaning if row else None,
            "advice": row.advice if row else None,
            "httpStatus": self.headers.get(names.HTTP_STATUS),
            "fbtraceId": self.headers.get(names.FBTRACE_ID),
            "headers": self.headers,
            "payload": self.payload,
            "curl": self.curl,
        }

    def to_text(self) -> str:
        """For people."""
        lines = [f"{name:<14} {value}" for name, value in self.to_json().items() if not isinstance(value, dict | None)]
        body = orjson.dumps(self.payload, option=orjson.OPT_INDENT_2).decode() if self.payload else "(not readable)"
        headers = [f"  {name}: {value}" for name, value in self.headers.items()]
        return "\n".join([*lines, "headers", *headers, "payload", body])


def story(seen: Seen, *, reveal: bool) -> Story:
    """Tell the story of a letter.

    Args:
        seen: The letter and its message.
        reveal: Show phone numbers, the recipient's and others; secrets are never shown.
    """
    letter = seen.letter
    payload = None if letter.error_type == POISON else _payload(seen.message.body)
    headers = redact(dict(seen.message.header.properties.headers or {}), keep_numbers=reveal)
    if not reveal:
        payload, headers = _masked(payload), _masked(headers)
    return Story(letter, headers, payload, _curl(letter, payload))


def _payload(body: bytes) -> dict[str, Any] | None:
    try:
        payload = orjson.loads(body)["wabaPayload"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return payload if isinstance(payload, dict) else None


def _masked(value: Any, field: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _masked(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, field) for each in value]
    if field in PEOPLE and isinstance(value, str | int):
        return masked_number(str(value))
    if isinstance(value, int) and abs(value) >= SHORT and field not in NO_PHONE:
        return masked_number(str(value))
    return without_numbers(value) if isinstance(value, str) else value


def _curl(letter: Letter, payload: dict[str, Any] | None) -> str | None:
    if payload is None or letter.phone_number_id is None:
        return None
    url = f"https://graph.facebook.com/{NEWEST}/{letter.phone_number_id}/messages"
    body = shlex.quote(orjson.dumps(payload).decode())
    return f'curl -X POST {url} -H "Authorization: Bearer {TOKEN}" -H "Content-Type: application/json" -d {body}'
