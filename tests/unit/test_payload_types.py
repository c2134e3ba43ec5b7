"""What is checked of a payload before Meta is asked."""

from __future__ import annotations

from typing import Any

import pytest

from stream.contract.messages import InvalidMessage
from stream.contract.payload_types import KNOWN_TYPES, check_payload


@pytest.mark.parametrize("kind", KNOWN_TYPES)
def test_a_known_type_has_content_of_its_own_json_kind(kind: str) -> None:
    wanted: Any = KNOWN_TYPES[kind]
    check_payload({"type": kind, kind: wanted()})
    with pytest.raises(InvalidMessage) as refused:
        check_payload({"type": kind, kind: [] if wanted is dict else {}})
    json_kind = "an object" if wanted is dict else "an array"
    assert str(refused.value) == f"wabaPayload.{kind}: must be {json_kind}: the content that wabaPayload.type names"


@pytest.mark.parametrize("content", [{"a": 1}, [1]])
def test_a_type_that_is_not_known_yet_may_have_either(content: object) -> None:
    check_payload({"type": "hologram", "hologram": content})


@pytest.mark.parametrize("to", ["US.13491208655302741918", "GB.ENT.13491208655302741918", "DE.a", "DE." + "9" * 128])
def test_a_business_scoped_user_id_in_to_is_refused_with_the_advice(to: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        check_payload({"to": to, "type": "text", "text": {"body": "Hello"}})
    assert str(refused.value).startswith("wabaPayload.to: is a business-scoped user id: put it into recipient")
    assert to not in str(refused.value)
