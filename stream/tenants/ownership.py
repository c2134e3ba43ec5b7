"""Whether a tenant's credentials are for the phone number that a message is to be sent from."""

from __future__ import annotations

from typing import Final, Literal

import structlog

from stream.contract.identifiers import PhoneNumberId
from stream.tenants.credentials import Credentials, NumberNotOwned

REMEMBERED: Final = 10_000  # pairs of tenant and number; a forgotten pair is warned of again

OwnsNumber = Literal["warn", "strict"]

log = structlog.get_logger(__name__)


class NumberOwnership:
    """Compares the number that the Tenant Service names, if it names one, with the message's.

    Args:
        rule: `TENANT_OWNS_NUMBER`.
    """

    def __init__(self, rule: OwnsNumber) -> None:
        self._strict = rule == "strict"
        self._warned: dict[tuple[str, str], None] = {}  # the oldest first

    def check(self, credentials: Credentials, phone_number_id: PhoneNumberId) -> None:
        """Warn of another number, once for each pair of tenant and number.

        Raises:
            NumberNotOwned: It is another one, and the rule is strict.
        """
        own = credentials.phone_number_id
        if own is None or own == phone_number_id:
            return
        if self._strict:
            raise NumberNotOwned(f"the credentials are for phone number id {own}, not for {phone_number_id}")
        pair = (credentials.tenant_id, phone_number_id)
        if pair in self._warned:
            return
        self._warned[pair] = None
        if len(self._warned) > REMEMBERED:
            del self._warned[next(iter(self._warned))]
        log.warning(
            "number_not_of_tenant",
            tenantId=credentials.tenant_id,
            phoneNumberId=phone_number_id,
            credentialsPhoneNumberId=own,
        )
