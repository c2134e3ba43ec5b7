"""Which messages of the intake move to a lane unread."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import orjson
import pytest
from aio_pika import IncomingMessage

from stream.contract.lanes import lane_names, lane_of
from stream.delivery.admission import Admission
from stream.delivery.arrival import Delivery
from stream.delivery.decision import Decision, Move
from stream.delivery.settlement import Settlement
from stream.delivery.sorter import Sorter
from tests.unit.doubles import incoming, properties_of

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
BODY = orjson.dumps({"metadata": {"tenantId": "noisy", "internalId": "order-1"}, "wabaPayload": "not read"})


class World:
    """One laned tenant, `noisy`, and what was reported as settled."""

    def __init__(self) -> None:
        self.reported: list[tuple[Delivery, Decision]] = []
        self.sorter = Sorter(cast("Admission", self), cast("Settlement", self), now=lambda: NOW)

    def move_of_laned(self, holder: str) -> Move | None:
        return Move(lane_of(holder, lane_names(8))) if holder == "noisy" else None

    def report(self, delivery: Delivery, decision: Decision) -> None:
        self.reported.append((delivery, decision))

    def sort(self, body: bytes = BODY, **properties: Any) -> Any:
        return self.sorter.sort(cast("IncomingMessage", incoming(body, **properties)))


def test_a_message_of_a_laned_tenant_moves_with_all_that_it_had() -> None:
    world = World()
    found = world.sort(headers={"x-own": "kept"}, message_id="one", priority=5)
    assert (found.exchange, found.lane) == ("whatsapp-delay-delivery", lane_of("noisy", lane_names(8)))
    copied = properties_of(found.copy)
    moment = NOW.isoformat()
    assert (found.copy.body, copied.message_id) == (BODY, "one")
    assert copied.headers is not None
    assert {"x-own": "kept", "x-first-seen": moment, "x-moved-at": moment}.items() <= copied.headers.items()
    assert world.reported == []
    found.settled()
    [(moved, decision)] = world.reported
    assert (moved.whose.tenant_id, moved.whose.internal_id, decision) == ("noisy", "order-1", Move(found.lane))


def test_a_message_that_was_seen_before_keeps_its_first_sight() -> None:
    before = "2026-11-28T08:00:00+00:00"
    headers = properties_of(World().sort(headers={"x-first-seen": before}).copy).headers
    assert headers is not None
    assert headers["x-first-seen"] == before


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (BODY.replace(b"noisy", b"quiet"), {}),
        (b"no JSON", {}),
        (b'{"metadata": {}}', {}),
        (BODY.replace(b"not read", b"\xff"), {}),
        (BODY.replace(b"not read", b"\\ud800"), {}),
        (BODY, {"redelivered": True}),
        (BODY, {"headers": {"x-redelivered": True}}),
        (BODY, {"headers": {"x-unreadable-properties": "any"}}),
        (BODY, {"headers": {"x-large": "x" * 100_000}}),
    ],
    ids=[
        "another tenant",
        "no JSON",
        "no tenant",
        "no UTF-8",
        "half a surrogate",
        "delivered before",
        "copied before",
        "unreadable",
        "too large",
    ],
)
def test_what_needs_a_closer_look_does_not_move(body: bytes, more: dict[str, Any]) -> None:
    assert World().sort(body, **more) is None
