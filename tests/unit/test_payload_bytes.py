from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.decoding import decode

EXAMPLES = sorted((Path(__file__).parent.parent / "payloads").glob("*.json"))
METADATA = b'{"tenantId":"acme","phoneNumberId":"100000001","internalId":"a"}'


def payload_bytes(payload: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    return decode(b'{"metadata":%s,"wabaPayload":%s%s%s}' % (METADATA, before, payload, after)).payload_bytes


def test_all_the_documented_sends_are_here() -> None:
    assert len(EXAMPLES) == 40


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_documented_send_decodes_and_reaches_meta_unchanged(path: Path) -> None:
    payload = path.read_bytes()
    assert payload_bytes(payload, before=b" ", after=b"\n").strip() == payload.strip()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_documented_send_names_its_type_and_recipient(path: Path) -> None:
    payload = json.loads(path.read_bytes())
    message = decode(b'{"metadata":%s,"wabaPayload":%s}' % (METADATA, path.read_bytes()))
    assert message.payload_type == payload["type"]
    assert message.recipient == payload.get("to", payload.get("recipient"))


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"text","text":{"body":"Hello"}}',
        b'{ "type" : "text" ,\r\n\t"text" : { } }',
        b'{"text":{},"type":"text"}',
        b'{"t\\u0079pe":"text","text":{"body":"caf\\u00e9 \\/ \\ud83d\\ude00"}}',
        '{"type":"text","text":{"body":"café 😀 \u2028"}}'.encode(),
        b'{"type":"text","text":{"a":12345678901234567890123,"b":1.10,"c":-0,"d":1E2,"e":0.1e-7}}',
        b'{"type":"text","text":{"a":1,"a":2},"b":null,"b":[]}',
        b'{"type":"contacts","contacts":[]}',
        b'{"type":"text","text":{"body":"\\u0000\\\\\\""}}',
    ],
)
def test_a_payload_is_the_bytes_that_arrived(payload: bytes) -> None:
    assert payload_bytes(payload) == payload


@pytest.mark.parametrize("after", [b"", b',"wabaPayloa":{"type":"x"}', b',"later":{"wabaPayload":{"type":"text"}}'])
def test_a_neighbour_of_the_payload_is_not_mistaken_for_it(after: bytes) -> None:
    payload = b'{"type":"text","text":{"wabaPayload":{"type":"inner"}}}'
    assert payload_bytes(payload, after=after) == payload


def test_a_key_written_with_escapes_is_the_same_key() -> None:
    raw = b'{"metadata":%s,"waba\\u0050ayload":{"type":"text","text":{}}}' % METADATA
    assert decode(raw).payload_bytes == b'{"type":"text","text":{}}'


texts = st.text(st.characters(exclude_categories=["Cs"]))
contents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


@given(
    content=st.dictionaries(texts, contents, max_size=4),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 3, "\t"]),
    type_last=st.booleans(),
)
def test_any_payload_in_any_spelling_is_the_bytes_that_arrived(
    content: dict[str, Any], indent: int | str | None, *, ascii_only: bool, type_last: bool
) -> None:
    content.pop("type", None)
    kind = {"type": "text"}
    object_ = {"text": content, **kind} if type_last else {**kind, "text": content}
    payload = json.dumps(object_, ensure_ascii=ascii_only, indent=indent).encode()
    assert payload_bytes(payload) == payload
