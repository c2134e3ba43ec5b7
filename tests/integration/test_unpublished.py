"""What is kept of a wait that could not be published, on a real Redis."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stream.contract.headers import History
from stream.contract.identifiers import InternalId, TenantId
from stream.contract.messages import UNKNOWN_OWNER, Whose
from stream.delivery.unpublished import KEPT, KEY_PREFIX, Unpublished, UnpublishedWaits
from stream.redis.client import connect
from stream.redis.link import RedisLink
from tests.scene import unique
from tests.unit.doubles import incoming

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WHOSE = Whose(TenantId("acme"), InternalId("i-1"))
HISTORY = History(NOW, 2, {"META_SERVER_ERROR": 1, "RATE_LIMIT": 1}, 1, "RATE_LIMIT: slow down")
DUE = NOW + timedelta(seconds=30)


@pytest.mark.parametrize("whose", [WHOSE, UNKNOWN_OWNER], ids=["known", "unknown"])
async def test_a_wait_is_found_once_as_it_was(link: RedisLink, whose: Whose) -> None:
    waits, message, wait = UnpublishedWaits(link), incoming(unique("body").encode()), Unpublished(HISTORY, DUE, whose)
    await waits.keep(message, wait, NOW)
    assert [await waits.take(message, NOW) for _ in range(2)] == [wait, None]


@pytest.mark.parametrize("headers", [{"x-attempt": 2}, {"x-resend": "again"}], ids=["next-try", "resend"])
async def test_it_is_that_of_one_try_of_one_message(link: RedisLink, headers: dict[str, Any]) -> None:
    waits, body = UnpublishedWaits(link), unique("body").encode()
    await waits.keep(incoming(body), Unpublished(HISTORY, DUE, WHOSE), NOW)
    assert await waits.take(incoming(body, headers=headers), NOW) is None
    assert await waits.take(incoming(body + b" "), NOW) is None
    assert await waits.take(incoming(body, redelivered=True), NOW) is not None


async def test_it_is_forgotten_an_hour_after_its_end(link: RedisLink) -> None:
    before = set(await link.redis.keys(f"{KEY_PREFIX}*"))
    await UnpublishedWaits(link).keep(incoming(unique("body").encode()), Unpublished(HISTORY, DUE, WHOSE), NOW)
    (key,) = set(await link.redis.keys(f"{KEY_PREFIX}*")) - before
    whole_ms = (KEPT.total_seconds() + 30) * 1000
    assert whole_ms - 60_000 < await link.redis.pttl(key) <= whole_ms


async def test_without_redis_nothing_is_kept_and_nothing_breaks() -> None:
    link = RedisLink(connect("redis://127.0.0.1:1"))
    waits, message = UnpublishedWaits(link), incoming(b"{}")
    await waits.keep(message, Unpublished(HISTORY, DUE, WHOSE), NOW)
    assert await waits.take(message, NOW) is None
    await link.aclose()
