"""A dead letter as an operator sees it: what failed, whose it is, and whether a replay makes sense."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stream.contract.replay import Replay


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, without its body.

    Attributes:
        id: Names it as long as it lies there: a hash of its body and its headers.
        fingerprint: Names its cause.
        error_type: A row of the error table, or one of another release.
        code: Meta's `error.code`.
        subcode: Meta's `error.error_subcode`.
        detail: What was wrong, without secrets and numbers.
        tenant_id: Whose it is.
        internal_id: Upstream's id.
        phone_number_id: Meta's id of the sending number.
        template_name: The template that was sent.
        recipient: Phone number, group id or user id; shown by its ending only.
        failed_at: When it was given up.
        attempts: Tries it took.
        replay: Whether a replay makes sense, now.
        ends: When its validity ends.
        expired: It has ended.
        replays: How often it has been replayed.
        job: The last job that did.
        replayed_from: The id of the letter that was replayed then.
    """

    id: str
    fingerprint: str
    error_type: str
    code: int | None
    subcode: int | None
    detail: str
    tenant_id: str | None
    internal_id: str | None
    phone_number_id: str | None
    template_name: str | None
    recipient: str | None
    failed_at: datetime | None
    attempts: int
    replay: Replay
    ends: datetime
    expired: bool
    replays: int
    job: str | None
    replayed_from: str | None

    def to_json(self) -> dict[str, Any]:
        """The object that scripts get."""
        return {
            "id": self.id,
            "fingerprint": self.fingerprint,
            "errorType": self.error_type,
            "code": self.code,
            "subcode": self.subcode,
            "detail": self.detail,
            "tenantId": self.tenant_id,
            "internalId": self.internal_id,
            "phoneNumberId": self.phone_number_id,
            "templateName": self.template_name,
            "failedAt": self.failed_at.isoformat() if self.failed_at else None,
            "attempts": self.attempts,
            "replay": self.replay.value,
            "replays": self.replays,
        }
