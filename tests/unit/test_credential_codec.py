from __future__ import annotations

from typing import Any

import orjson
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.identifiers import TenantId
from stream.tenants.codec import CredentialCodec
from stream.tenants.credentials import Credentials

ACME, OTHER = TenantId("acme"), TenantId("other")
CREDENTIALS = Credentials(
    ACME,
    "EAAGtoken",
    phone_number_id="100000001",
    messages_per_second=80.0,
    cached_at=1_700_000_000.5,
    ttl_ms=900_000,
)
NEW, OLD = (Fernet.generate_key().decode() for _ in range(2))


@pytest.mark.parametrize("keys", [[], [NEW], [NEW, OLD]], ids=["plain", "one-key", "two-keys"])
@pytest.mark.parametrize("credentials", [CREDENTIALS, Credentials(ACME, "EAAGtoken")], ids=["full", "least"])
def test_what_is_written_is_read(keys: list[str], credentials: Credentials) -> None:
    codec = CredentialCodec(keys)
    assert codec.decode(ACME, codec.encode(credentials)) == credentials


def test_with_a_key_neither_token_nor_tenant_stands_in_the_entry() -> None:
    entry = CredentialCodec([NEW]).encode(CREDENTIALS)
    assert b"EAAGtoken" not in entry
    assert b"acme" not in entry


def test_the_first_key_writes_and_every_key_reads() -> None:
    rotating, entry = CredentialCodec([NEW, OLD]), CredentialCodec([OLD]).encode(CREDENTIALS)
    assert rotating.decode(ACME, entry) == CREDENTIALS
    assert CredentialCodec([NEW]).decode(ACME, rotating.encode(CREDENTIALS)) == CREDENTIALS
    assert CredentialCodec([OLD]).decode(ACME, rotating.encode(CREDENTIALS)) is None


@pytest.mark.parametrize("keys", [[], [NEW]], ids=["plain", "encrypted"])
def test_another_tenants_entry_is_refused(keys: list[str]) -> None:
    codec = CredentialCodec(keys)
    assert codec.decode(OTHER, codec.encode(CREDENTIALS)) is None


def test_plain_and_encrypted_entries_do_not_mix() -> None:
    plain, encrypted = CredentialCodec([]), CredentialCodec([NEW])
    assert encrypted.decode(ACME, plain.encode(CREDENTIALS)) is None
    assert plain.decode(ACME, encrypted.encode(CREDENTIALS)) is None


@pytest.mark.parametrize("keys", [[], [NEW]], ids=["plain", "encrypted"])
@given(entry=st.binary(max_size=60))
def test_garbage_is_no_entry(keys: list[str], entry: bytes) -> None:
    assert CredentialCodec(keys).decode(ACME, entry) is None


@pytest.mark.parametrize("content", [None, 5, "acme", [], ["acme"], {}, {"tenantId": "acme"}, {"tenantId": ["acme"]}])
def test_json_of_another_shape_is_no_entry(content: object) -> None:
    assert CredentialCodec([]).decode(ACME, orjson.dumps(content)) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"token": None},
        {"token": 5},
        {"token": ""},
        {"cachedAt": "yesterday"},
        {"cachedAt": None},
        {"ttlMs": "900000"},
        {"ttlMs": None},
    ],
    ids=repr,
)
def test_an_entry_with_fields_of_the_wrong_kind_is_no_entry(odd: dict[str, Any]) -> None:
    codec = CredentialCodec([])
    content = orjson.loads(codec.encode(CREDENTIALS))
    assert codec.decode(ACME, orjson.dumps({**content, **odd})) is None


def test_a_field_that_a_later_release_adds_is_ignored() -> None:
    codec = CredentialCodec([])
    content = orjson.loads(codec.encode(CREDENTIALS))
    assert codec.decode(ACME, orjson.dumps({**content, "later": 1})) == CREDENTIALS


def test_the_token_is_in_no_repr() -> None:
    assert "EAAGtoken" not in repr(CREDENTIALS)
