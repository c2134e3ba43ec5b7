"""What a refusal for too many sends slows down, and what then becomes of its message."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from stream.contract.headers import History
from stream.contract.validity import ALWAYS
from stream.delivery.decision import RetryAfter, RetryPolicy, decide
from stream.delivery.outcome import Failed
from stream.delivery.throttles import slow_down_for
from stream.meta.classifier import MetaErrorClassifier
from stream.meta.failure import Failure
from stream.meta.usage import USAGE, regain_access_s
from stream.redis.link import RedisLink
from stream.retry import RetryHandler
from stream.traffic.pace_alone import PaceAlone
from stream.traffic.paces import NUMBER, PAIR, TENANT, MessageLimits
from stream.traffic.pacing import SECOND_US, UNLIMITED, Limit
from stream.traffic.slow_downs import SlowDown, SlowDowns
from tests.unit.processing import World as Processor
from tests.unit.redis_world import World

NOW = datetime(2026, 11, 28, tzinfo=UTC)
LIMITS = MessageLimits.of(("n", "t", "p"), (Limit.of(80, SECOND_US), UNLIMITED, Limit(SECOND_US, SECOND_US)))


def refusal(code: int | None, *, minutes: float = 0, retry_after: str = "") -> Failure:
    usage = {"1": [{"type": "whatsapp"}, {"type": "whatsapp", "estimated_time_to_regain_access": minutes}]}
    headers = {USAGE: orjson.dumps(usage).decode(), "retry-after": retry_after}
    body = b"" if code is None else orjson.dumps({"error": {"code": code, "message": "too many"}})
    return MetaErrorClassifier().classify(429, body, headers)


@pytest.mark.parametrize(
    ("failure", "wanted"),
    [
        (refusal(130429), SlowDown("cut", NUMBER)),
        (refusal(None), SlowDown("cut", NUMBER)),
        (refusal(131056), SlowDown("back_off", PAIR)),
        (refusal(4), SlowDown("pause", TENANT, 60)),
        (refusal(80007), SlowDown("pause", TENANT, 300)),
        (refusal(80008, minutes=12), SlowDown("pause", TENANT, 720)),
        (refusal(4, minutes=0.5), SlowDown("pause", TENANT, 30)),
        (refusal(4, minutes=1e300), SlowDown("pause", TENANT, 3600)),
        (refusal(131208), None),
        (refusal(131047), None),
        (refusal(131057), None),
    ],
)
def test_each_refusal_slows_down_what_it_names(failure: Failure, wanted: SlowDown | None) -> None:
    assert slow_down_for(failure) == wanted


@pytest.mark.parametrize(
    "header", [None, "", "[]", "{", '{"1": {}}', '{"1": [3]}', '{"1": [{"estimated_time_to_regain_access": true}]}']
)
def test_a_usage_header_that_says_nothing_is_passed_over(header: str | None) -> None:
    assert regain_access_s(header) is None


@pytest.mark.parametrize(
    ("pause_s", "failure", "delay_s"),
    [
        (1.0, refusal(130429), 1.0),
        (1.0, refusal(130429, retry_after="30"), 30.0),
        (720.0, refusal(80008), 720.0),
        (None, refusal(130429), 10.0),
    ],
)
def test_a_message_waits_for_its_pause_instead_of_a_backoff_where_it_is_paced(
    pause_s: float | None, failure: Failure, delay_s: float
) -> None:
    policy = RetryPolicy(3, None, RetryHandler(draw=lambda: 0.0))
    history = History(NOW)
    for _ in range(5 if pause_s else 0):
        history = history.after("RATE_LIMIT", 1)
    decision = decide(Failed(failure, pause_s=pause_s), history, policy, validity=ALWAYS, now=NOW)
    assert isinstance(decision, RetryAfter)
    assert decision.delay_s == delay_s


async def test_the_processor_tells_of_a_refusal_and_takes_its_pause() -> None:
    throttled = httpx.Response(400, json={"error": {"code": 130429, "message": "too many"}})
    world = Processor(throttled)
    outcome = await world.process()
    assert isinstance(outcome, Failed)
    assert (outcome.pause_s, world.slow_downs.told) == (7.0, [SlowDown("cut", NUMBER)])
    assert world.ledger.story[-1] == "released"


class Throttled:
    """A replica whose Redis is away."""

    def __init__(self) -> None:
        world = World()
        world.connection.refusing = ConnectionRefusedError()
        self.slow_downs = SlowDowns(RedisLink(world.link.redis), PaceAlone("open"))

    async def tell(self, slow_down: SlowDown, limits: MessageLimits = LIMITS) -> float | None:
        return await self.slow_downs.tell(limits, slow_down, 0.1, tenantId="acme")


async def test_without_redis_the_replica_slows_down_alone_and_says_each_change_once() -> None:
    throttled = Throttled()
    with capture_logs() as logs:
        for _ in range(3):
            assert await throttled.tell(SlowDown("cut", NUMBER)) == 1.0
            pause_s = await throttled.tell(SlowDown("pause", TENANT, 60))
            assert pause_s == pytest.approx(60, abs=1)
    changes = [line for line in logs if line["event"] in {"rate_cut", "paused"}]
    assert [(line["event"], line["tenantId"]) for line in changes] == [("rate_cut", "acme"), ("paused", "acme")]
    assert (changes[0]["fromPerSecond"], changes[0]["toPerSecond"]) == (80.0, 40.0)
    assert changes[1]["limit"] == "tenant"


@pytest.mark.parametrize("slow_down", [SlowDown("cut", NUMBER), SlowDown("back_off", PAIR)])
async def test_a_limit_that_is_off_is_not_slowed_down_and_its_message_backs_off(slow_down: SlowDown) -> None:
    off = MessageLimits.of(("n", "t"), (UNLIMITED, UNLIMITED))
    assert await Throttled().tell(slow_down, off) is None
