"""Contact cards."""

from __future__ import annotations

from typing import Final

from pydantic import ConfigDict, Field

from stream.specification.payloads.part import Part, Text

_NAME_PARTS: Final = ("first_name", "last_name", "middle_name", "suffix", "prefix")


class ContactName(Part):
    """The name: `formatted_name`, and at least one of its parts."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"anyOf": [{"required": [name]} for name in _NAME_PARTS]}
    )

    formatted_name: Text = Field(description="The name as it is shown.")
    first_name: str | None = None
    last_name: str | None = None
    middle_name: str | None = None
    suffix: str | None = None
    prefix: str | None = None


class ContactPhone(Part):
    """A phone number."""

    phone: str | None = Field(default=None, description="As it is shown.")
    type: str | None = Field(default=None, description="HOME, WORK, CELL, …")
    wa_id: str | None = Field(default=None, description="WhatsApp id; adds a button to message the contact.")


class ContactEmail(Part):
    """An e-mail address."""

    email: str | None = None
    type: str | None = Field(default=None, description="HOME or WORK.")


class ContactUrl(Part):
    """A web address."""

    url: str | None = None
    type: str | None = Field(default=None, description="HOME or WORK.")


class ContactAddress(Part):
    """A postal address."""

    street: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None
    country_code: str | None = Field(default=None, description="ISO 3166, two letters.")
    type: str | None = Field(default=None, description="HOME or WORK.")


class ContactOrganisation(Part):
    """Where the contact works."""

    company: str | None = None
    department: str | None = None
    title: str | None = None


class ContactCard(Part):
    """One contact."""

    name: ContactName
    phones: list[ContactPhone] | None = None
    emails: list[ContactEmail] | None = None
    urls: list[ContactUrl] | None = None
    addresses: list[ContactAddress] | None = None
    org: ContactOrganisation | None = None
    birthday: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="YYYY-MM-DD.")
