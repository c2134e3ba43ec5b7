"""Redis misbehaves: answers are lost, and its name leads elsewhere."""

from __future__ import annotations

import pytest

from sandbox.redis import PrivateRedis
from tests.forwarder import Forwarder
from tests.scene import Scene, number, unique

LEASE_S = 5.5  # META_API_TIMEOUT_MS and the margin of 5 s
REFUSED_ONCE = "999210131016"  # "service unavailable", which Meta says of a message it did not take


@pytest.mark.parametrize("on_unknown", ["dead-letter", "retry"])
async def test_a_message_whose_claim_lost_its_answer_is_not_in_doubt_after_a_clean_refusal(
    broken: Scene, on_unknown: str
) -> None:
    redis = broken.world.redis
    assert isinstance(redis, PrivateRedis)
    async with Forwarder(redis.port) as name:
        worker = await broken.start_worker(
            REDIS_URL=f"redis://127.0.0.1:{name.port}/0", META_API_TIMEOUT_MS="500", ON_UNKNOWN_OUTCOME=on_unknown
        )
        await broken.watch()
        tenant, first, to = unique("claimed"), number(), number(REFUSED_ONCE)
        await broken.publish(first, tenant)
        await broken.accepted(first)
        name.lose_answers()
        internal_id = await broken.publish(to, tenant)
        event = await broken.event(f"outbound.sent.{tenant}", internal_id, seconds=LEASE_S + 10)
        assert (event["attempts"], event.get("possiblySentTwice", False)) == (2, False)
        assert broken.letters_of(internal_id) == []
        await broken.logged(worker, "redis_away")
        await broken.logged(worker, "redis_back")
