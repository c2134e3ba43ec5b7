"""Reading a dead letter. What the worker wrote counts; a letter with less in its headers is classified here.

That is a letter of an earlier release, or one that RabbitMQ itself moved. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from stream.contract import headers as names
from stream.contract.decoding import whose
from stream.contract.messages import MESSAGE_MAX_BYTES, Whose
from stream.contract.moments import iso_moment_or_none, read_moment
from stream.contract.replay import Replay
from stream.contract.validity import NEVER
from stream.meta.causes import fingerprint, replay_of
from stream.meta.errors import ERROR_TABLE
from stream.operations.dead_letters.death import POISON, Death, ends_by_expiration
from stream.operations.dead_letters.letter import Letter

ID_LENGTH: Final = 16  # hexadecimal digits
NO_ANSWER: Final = "no answer came"  # so begins the detail of a send without an answer

# RabbitMQ's counts, and what `import` adds to a letter that it brings back.
_NOT_ITS_OWN: Final = frozenset(
    {"x-delivery-count", "x-acquired-count", names.ORIGINAL_USER_ID, names.ORIGINAL_EXPIRATION}
)

Headers = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A message of the dead-letter queue as it came.

    Attributes:
        body: Its bytes.
        headers: Its headers.
        sent: The property `timestamp`.
    """

    body: bytes
    headers: Headers
    sent: datetime | None = None


def read_letter(found: Found, *, now: datetime, max_age: timedelta) -> Letter:
    """Read a letter.

    Args:
        found: The message.
        now: The moment for which its validity is judged.
        max_age: `MESSAGE_MAX_AGE_MS`.
    """
    headers, death = found.headers, Death.of(found.headers)
    error_type = _text(headers.get(names.ERROR_TYPE)) or death.error_type
    content = _Content.of({} if error_type == POISON else _json(found.body))
    detail = _text(headers.get(names.ERROR_DETAIL)) or death.words
    tenant_id = _text(headers.get(names.TENANT_ID)) or content.owner.tenant_id
    internal_id = _text(headers.get(names.INTERNAL_ID)) or content.owner.internal_id
    code, subcode = _number(headers.get(names.ERROR_CODE)), _number(headers.get(names.ERROR_SUBCODE))
    ends = _ends(found, content, death, max_age)
    expired = ends <= now
    return Letter(
        id=_id(found),
        fingerprint=_text(headers.get(names.FINGERPRINT))
        or fingerprint(
            ERROR_TABLE.get(error_type, error_type),
            code=code,
            subcode=subcode,
            detail=detail,
            template_name=content.template_name,
            tenant_id=tenant_id,
            ids=(internal_id, content.phone_number_id),
        ),
        error_type=error_type,
        code=code,
        subcode=subcode,
        detail=detail,
        tenant_id=tenant_id,
        internal_id=internal_id,
        phone_number_id=content.phone_number_id,
        template_name=content.template_name,
        recipient=content.recipient,
        failed_at=iso_moment_or_none(headers.get(names.FAILED_AT)) or death.at,
        attempts=_number(headers.get(names.ATTEMPTS)) or _number(headers.get(names.ATTEMPT)) or 0,
        replay=_replay(headers, error_type, in_doubt=death.in_doubt or _is_in_doubt(headers, detail), expired=expired),
        ends=ends,
        expired=expired,
        replays=_number(headers.get(names.REPLAYS)) or 0,
        job=_text(headers.get(names.REPLAY_JOB)),
        replayed_from=_text(headers.get(names.REPLAYED_FROM)),
    )


@dataclass(frozen=True, slots=True)
class _Content:
    """What a letter's body says."""

    owner: Whose
    phone_number_id: str | None
    template_name: str | None
    recipient: str | None
    valid_until: object

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> _Content:
        metadata, payload = _table(content.get("metadata")), _table(content.get("wabaPayload"))
        return cls(
            owner=whose(content),
            phone_number_id=_name(metadata.get("phoneNumberId")),
            template_name=_text(_table(payload.get("template")).get("name")),
            recipient=_name(payload.get("to")) or _name(payload.get("recipient")),
            valid_until=metadata.get("validUntil"),
        )


def _is_in_doubt(headers: Headers, detail: str) -> bool:
    return (_number(headers.get(names.UNKNOWN_OUTCOMES)) or 0) > 0 or detail.startswith(NO_ANSWER)


def _replay(headers: Headers, error_type: str, *, in_doubt: bool, expired: bool) -> Replay:
    """The worker's word, unless the letter's time has passed since; or the row's of the error table."""
    written, row = headers.get(names.REPLAY), ERROR_TABLE.get(error_type)
    if isinstance(written, str) and written in set(Replay):
        replay = Replay(written)
    elif row:
        replay = replay_of(row, in_doubt=in_doubt)
    else:
        replay = Replay.IN_DOUBT if in_doubt else Replay.FIX_FIRST
    return Replay.POINTLESS if expired and replay is not Replay.IN_DOUBT else replay


def _ends(found: Found, content: _Content, death: Death, max_age: timedelta) -> datetime:
    """When its validity ends, or has ended, as the worker would see it."""
    first_seen = iso_moment_or_none(found.headers.get(names.FIRST_SEEN))
    too_old = _too_old(first_seen, max_age)
    if stated := _stated(content.valid_until):
        return min(stated, too_old)
    if death.ended_its_validity and death.at:
        return death.at
    since = first_seen or found.sent or death.at or NEVER
    expiration = found.headers.get(names.ORIGINAL_EXPIRATION, death.expiration)
    by_expiration = ends_by_expiration(expiration, found.sent, since)
    return min(by_expiration or NEVER, too_old)


def _too_old(first_seen: datetime | None, max_age: timedelta) -> datetime:
    try:
        return first_seen + max_age if first_seen else NEVER
    except OverflowError:  # a publisher's own header may hold any moment
        return NEVER


def _stated(value: object) -> datetime | None:
    try:
        return read_moment(value)
    except ValueError:
        return None


def _id(found: Found) -> str:
    """A hash of the body and of all headers, whose order RabbitMQ may change: two letters differ in one of them."""
    own = {name: value for name, value in found.headers.items() if name not in _NOT_ITS_OWN}
    headers = json.dumps(own, sort_keys=True, default=repr)
    return hashlib.sha256(headers.encode() + b"\0" + found.body).hexdigest()[:ID_LENGTH]


def _json(body: bytes) -> Mapping[str, Any]:
    if len(body) > MESSAGE_MAX_BYTES:
        return {}
    try:
        return _table(orjson.loads(body))
    except orjson.JSONDecodeError:
        return {}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _name(value: object) -> str | None:
    """An id or a phone number; an earlier publisher's may be a JSON number."""
    return str(value) if isinstance(value, str | int) and value else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
