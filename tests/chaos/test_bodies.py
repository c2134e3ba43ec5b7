"""Ten thousand bodies: none stops the consumer, each ends in exactly one place."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.contract.decoding import decode
from stream.contract.messages import InvalidMessage, Message
from tests.scene import Scene, number, text_message, unique

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ids = st.text(max_size=12) | json_values
payloads = json_values | st.dictionaries(st.sampled_from(["type", "text", "to", "image", "contacts"]), ids, max_size=4)
metadata = json_values | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("tenantId", "phoneNumberId", "internalId", "correlationId", "timestamp"), ids)
)
messages = st.fixed_dictionaries({}, optional={"metadata": metadata, "wabaPayload": payloads, "other": json_values})
whole = messages.map(orjson.dumps)
cut = st.tuples(whole, st.integers(0)).map(lambda pair: pair[0][: pair[1] % (len(pair[0]) + 1)])
bodies = st.binary(max_size=60) | whole | cut


def outcome_of(body: bytes) -> Message | InvalidMessage:
    try:
        return decode(body)
    except InvalidMessage as error:
        return error


@pytest.mark.any_servers
@settings(max_examples=10_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(body=bodies)
def test_any_body_is_a_message_or_names_the_field_that_is_wrong(body: bytes) -> None:
    read = outcome_of(body)
    if isinstance(read, InvalidMessage):
        assert read.field
        assert read.problem
    else:
        assert orjson.loads(read.payload_bytes) == orjson.loads(body)["wabaPayload"]


async def test_bodies_of_every_kind_end_in_the_dead_letter_queue_and_the_rest_flows(stage: Scene) -> None:
    sent: list[bytes] = []

    @settings(max_examples=1_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(body=bodies)
    def collect(body: bytes) -> None:
        if isinstance(outcome_of(body), InvalidMessage):
            sent.append(body)

    await asyncio.to_thread(collect)
    await stage.start_worker(RABBITMQ_PREFETCH="50")
    await stage.watch()
    for body in sent:
        await stage.outside.publish(body, "anybody")
    await stage.until(lambda: len(stage.letters) >= len(sent), seconds=60)
    assert sorted(letter.body for letter in stage.letters) == sorted(sent)
    to = number()
    await stage.publish(to)
    await stage.accepted(to)
    await stage.settled()
    assert len(stage.letters) == len(sent)


async def test_a_body_of_a_megabyte_is_delivered_and_a_nested_one_refused(scene: Scene) -> None:
    to, internal_id = number(), unique("large")
    message: dict[str, Any] = text_message(to, "acme", internal_id, body="x" * 1_000_000)
    await scene.outside.publish(orjson.dumps(message), "acme")
    assert len((await scene.accepted(to)).body) > 1_000_000
