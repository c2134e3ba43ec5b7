"""The identifiers that reach URLs, Redis keys and routing keys, each a type of its own."""

from __future__ import annotations

from typing import NewType

TenantId = NewType("TenantId", str)
PhoneNumberId = NewType("PhoneNumberId", str)
InternalId = NewType("InternalId", str)
Wamid = NewType("Wamid", str)
"""WhatsApp message id, `wamid.…`: what Meta answers and what its webhooks refer to."""

# Letters, digits and the separators that ids use in practice. No slash, space, control character or non-ASCII:
# these ids become part of a URL path, a Redis key and an AMQP routing key (at most 255 bytes).
TENANT_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@~-]{0,127}$"
PHONE_NUMBER_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
# Printable ASCII without spaces: upstream ids are free-form, and this one is only stored, hashed and logged.
INTERNAL_ID_PATTERN = r"^[\x21-\x7e]{1,256}$"
