"""What two dead letters have in common: the cause, as a fingerprint, and whether a replay makes sense. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from stream.contract.events import Scope
from stream.contract.replay import Replay
from stream.meta.errors import ErrorRule

FINGERPRINT_LENGTH: Final = 16  # hexadecimal digits: two of a million causes share one with a chance of 1 in 10 million

# A word with a digit in it: a number, a moment, a trace id, a host's name, a masked phone number.
_CHANGING: Final = re.compile(r"[\w.:+/=@*-]*\d[\w.:+/=@*-]*")
_BLANKS: Final = re.compile(r"\s+")
_TENANTS_OWN: Final = frozenset({Scope.TENANT, Scope.PHONE_NUMBER})


def fingerprint(
    rule: ErrorRule | str,
    *,
    code: int | None,
    subcode: int | None,
    detail: str,
    template_name: str | None,
    tenant_id: str | None,
    ids: Iterable[str | None] = (),
) -> str:
    """Name the cause of a failure: letters with the same name need the same cure.

    The tenant belongs to the cause where the cure is the tenant's own: by the row's scope, or because a template is
    named, which each tenant has its own of. An outage of Meta is one cause for all tenants.

    Args:
        rule: The row of the error table; a name alone is a row of another release.
        code: Meta's `error.code`.
        subcode: Meta's `error.error_subcode`.
        detail: What was wrong; numbers and ids in it do not count.
        template_name: The template that was sent.
        tenant_id: Whose message it was.
        ids: Further ids that may stand in the detail.
    """
    name, scope = (rule, Scope.TENANT) if isinstance(rule, str) else (rule.name, rule.scope)
    whose = tenant_id if scope in _TENANTS_OWN or template_name else None
    parts = (name, code, subcode, template_name, whose, normalised(detail, [tenant_id, *ids]))
    text = "\0".join("" if part is None else str(part) for part in parts)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:FINGERPRINT_LENGTH]


def normalised(detail: str, ids: Iterable[str | None]) -> str:
    """The detail without what differs from letter to letter of one cause."""
    for each in filter(None, ids):
        detail = re.sub(rf"(?<!\w){re.escape(each)}(?!\w)", "#", detail)
    return _BLANKS.sub(" ", _CHANGING.sub("#", detail)).strip()


def replay_of(rule: ErrorRule, *, in_doubt: bool) -> Replay:
    """Whether a letter is worth replaying: a send of which nobody knows the outcome puts any letter in doubt."""
    return Replay.IN_DOUBT if in_doubt else rule.replay
