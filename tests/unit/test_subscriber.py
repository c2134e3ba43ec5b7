"""What FastStream is told about a message that comes in."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aio_pika import IncomingMessage
from faststream.rabbit.parser import AioPikaParser

from stream.delivery.subscriber import NO_ID, parse_message
from tests.unit.doubles import incoming


@pytest.mark.parametrize(
    ("properties", "ids"),
    [
        ({"message_id": "m-1", "correlation_id": "c-1", "headers": {"x-a": 1}, "content_type": "text/plain"}, None),
        ({}, {"message_id": NO_ID, "correlation_id": NO_ID}),
    ],
    ids=["all", "none"],
)
async def test_a_message_is_read_as_faststream_reads_it_but_for_ids_that_it_does_not_have(
    properties: dict[str, Any], ids: dict[str, str] | None
) -> None:
    raw = cast("IncomingMessage", incoming(b"body", **properties))
    ours, theirs = await parse_message(raw), await AioPikaParser().parse_message(raw)
    if ids is not None:
        vars(theirs).update(ids)
    assert vars(ours) == vars(theirs)
