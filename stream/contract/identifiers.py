"""The identifiers that reach URLs, Redis keys and routing keys, each a type of its own."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final, NewType

TenantId = NewType("TenantId", str)
PhoneNumberId = NewType("PhoneNumberId", str)
InternalId = NewType("InternalId", str)
Wamid = NewType("Wamid", str)
"""WhatsApp message id, `wamid.…`: what Meta answers and what its webhooks refer to."""

# Any text without control characters (Unicode's Cc); code that puts it into a URL or a key escapes it there.
TENANT_ID_PATTERN: Final = r"^[^\x00-\x1f\x7f-\x9f]{1,128}$"
PHONE_NUMBER_ID_PATTERN: Final = r"^[0-9]{1,64}$"
# Printable ASCII without spaces: upstream ids are free-form, and this one is only stored, hashed and logged.
INTERNAL_ID_PATTERN: Final = r"^[\x21-\x7e]{1,256}$"
ERROR_TYPE_PATTERN: Final = r"^[A-Z][A-Z0-9_]*$"

LONGEST_ROUTING_WORD: Final = 240  # bytes; AMQP has 255 for the whole key, of which our prefixes take 15
WILDCARDS: Final = frozenset({"*", "#"})

REMEMBERED: Final = 10_000  # tenants

_NO_BRACES: Final = str.maketrans({"%": "%25", "{": "%7B", "}": "%7D"})


@lru_cache(maxsize=REMEMBERED)
def hash_tag(tenant_id: TenantId) -> str:
    """The part of a Redis key that names the tenant, in braces: a Redis Cluster keeps keys with equal parts together.

    Braces in the id are escaped: Redis reads to the first closing brace, and ignores an empty pair.
    """
    return f"{{{tenant_id.translate(_NO_BRACES)}}}"


@lru_cache(maxsize=REMEMBERED)
def routing_word(tenant_id: TenantId) -> str:
    """The end of a routing key that names the tenant: the id itself, or its SHA-256 if the id cannot be used.

    That is an id of more than 240 bytes, and one with a word (dots part them) that is a wildcard in every binding.
    """
    if len(tenant_id.encode()) <= LONGEST_ROUTING_WORD and WILDCARDS.isdisjoint(tenant_id.split(".")):
        return tenant_id
    return "sha256-" + hashlib.sha256(tenant_id.encode()).hexdigest()
