"""Keeping secrets and phone numbers out of logs and other texts.

Two layers: a field whose name means a secret never shows its value, and other text is searched for what looks like a
secret. The second layer is only a safety net: code that holds a secret must not put it into text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from types import NoneType
from typing import Any, Final

MASK: Final = "***"
SHOWN_DIGITS: Final = 4

_SECRET_FIELD: Final = re.compile(r"(?i)token|password|passwd|secret|authorization|api_?key|fernet|cookie")
_SECRETS: Final = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s,;\"']+"), rf"\1 {MASK}"),
    (re.compile(r"\bEAA[A-Za-z0-9_.-]{6,}"), MASK),  # Meta's access tokens
    (re.compile(r"\bgAAAA[A-Za-z0-9_=-]{20,}"), MASK),  # Fernet ciphertext
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^\s/]*@"), rf"\1{MASK}@"),  # user and password in a URL
    (re.compile(r"(?i)((?:access_token|token|password|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]+"), rf"\1{MASK}"),
)
# Each of the five needs one of these. Nearly every text has none of them, and then needs none of the five searches.
_SUSPICIOUS: Final = ("bearer", "basic", "eaa", "gaaaa", "://", "token", "password", "secret")
_SUSPECT: Final = re.compile("(?i)" + "|".join(_SUSPICIOUS))
# Base64 of the recipient's number and, after it, 24 bytes that are a message's own.
_WAMID: Final = re.compile(rb"wamid\.[A-Za-z0-9+/=_-]*")
SHOWN_OF_WAMID: Final = 12
LONG_WAMID: Final = 40
# The second form is North America's, with dots: no address and no version has groups of three, three and four digits.
_PHONE: Final = re.compile(
    r"(?<![\w-])(?:\d(?:[ -]?\d){6,14}|(?<!\d\.)(?:\d{1,3}\.)?\d{3}\.\d{3}\.\d{4}(?!\.?\d))(?![\w-])"
)
# As people write one: after a plus with any punctuation, or with its area code in parentheses. Elsewhere these would be
# parts of an address, or of two error codes.
_WRITTEN_PHONE: Final = re.compile(
    r"(?<![\w-])(?:\+\d(?:[ \u00a0().\u2010\u2011-]{0,2}\d){6,14}"
    r"|(?:\d{1,4}[ -]?)?\(\d{2,5}\)[ -]?\d(?:[ -]?\d){4,9})(?![\w-])"
)

_HARMLESS_TYPES: Final = frozenset({int, float, bool, NoneType})

# Identifiers that people search for: validated, never a recipient. If they were masked, operators could not search.
_PLAIN_FIELDS: Final = frozenset(
    {"tenantId", "internalId", "phoneNumberId", "wamid", "fbtrace_id", "timestamp", "level", "logger"}
)


def without_secrets(text: str) -> str:
    """The text with everything that looks like a secret masked."""
    if not _SUSPECT.search(text):
        return text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def masked_number(number: str) -> str:
    """A phone number of which only the last four digits are left."""
    return MASK + number[-SHOWN_DIGITS:] if len(number) > SHOWN_DIGITS else MASK


def without_numbers(text: str) -> str:
    """The text with everything that looks like a phone number masked."""
    if "+" in text or "(" in text:
        text = _WRITTEN_PHONE.sub(_masked_phone, text)
    return _PHONE.sub(_masked_phone, text)


def redacted(text: str) -> str:
    """The text with everything masked that looks like a secret or a phone number."""
    return without_numbers(without_secrets(text))


def _masked_phone(found: re.Match[str]) -> str:
    return masked_number(found[0])


def without_wamids(line: bytes) -> bytes:
    """The line with the recipient's number cut out of every WAMID; the last characters, which hold no number, stay."""
    return _WAMID.sub(_masked_wamid, line)


def _masked_wamid(found: re.Match[bytes]) -> bytes:
    shown = found[0][-SHOWN_OF_WAMID:] if len(found[0]) > LONG_WAMID else b""
    return b"wamid." + MASK.encode() + shown


@lru_cache(maxsize=1024)  # the fields of log lines are few and always the same
def _is_secret(field: str) -> bool:
    return _SECRET_FIELD.search(field) is not None


@lru_cache(maxsize=1024)  # the sets of fields, too
def _any_is_secret(fields: tuple[str, ...]) -> bool:
    return any(map(_is_secret, fields))


def redact(value: Any, field: str = "", *, keep_numbers: bool = False) -> Any:
    """A copy of `value` that may be shown; with `keep_numbers`, to one who may see phone numbers."""
    if value is not None and _is_secret(field):
        return MASK
    if isinstance(value, str):
        plain = without_secrets(value)
        return plain if keep_numbers or field in _PLAIN_FIELDS else without_numbers(plain)
    if isinstance(value, Mapping):
        return {key: redact(item, str(key), keep_numbers=keep_numbers) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, field, keep_numbers=keep_numbers) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value), field, keep_numbers=keep_numbers)


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last processor of the log chain, before rendering."""
    return event if _is_harmless(event) else {key: redact(value, key) for key, value in event.items()}


def _is_harmless(event: Mapping[str, Any]) -> bool:
    """Whether one check of all texts together shows that `redact` would change nothing. If in doubt: false.

    It takes a quarter of the time of a check of each text, and nearly every line needs no other.
    """
    if _any_is_secret(tuple(event)):
        return False
    identifiers: list[str] = []
    texts: list[str] = []
    for field, value in event.items():
        kind = type(value)  # exact types: quicker than `isinstance`, and a subclass is only in doubt
        if kind is str:
            (identifiers if field in _PLAIN_FIELDS else texts).append(value)
        elif kind not in _HARMLESS_TYPES:
            return False
    # No secret and no number contains a line break, so joining two texts creates none.
    numbers_may_be_in = "\n".join(texts)
    everything = "\n".join(identifiers) + "\n" + numbers_may_be_in
    if not everything.isascii():  # other letters have other rules for upper and lower case
        return False
    if "+" in numbers_may_be_in or "(" in numbers_may_be_in:
        return False
    lowered = everything.lower()
    return not any(word in lowered for word in _SUSPICIOUS) and not _PHONE.search(numbers_may_be_in)
