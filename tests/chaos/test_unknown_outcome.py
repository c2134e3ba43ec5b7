"""No answer is not "failed": what provably never left is sent again, what may have been delivered is decided."""

from __future__ import annotations

import pytest

from sandbox.processes import free_ports
from tests.scene import Scene, number

TAKEN_THEN_RESET = "999511"  # Meta takes the message, then the connection is reset before any answer


async def test_a_reset_after_the_body_left_is_sent_again_and_says_so(scene: Scene) -> None:
    to = number(TAKEN_THEN_RESET)
    internal_id = await scene.publish(to)
    event = await scene.event("outbound.sent.acme", internal_id, seconds=15)
    assert len(scene.taken(to)) == 2
    assert event["possiblySentTwice"] is True
    line = await scene.logged(scene.workers[0], "waiting_for_retry", internalId=internal_id)
    assert line["certainty"] == "unknown"
    await scene.logged(scene.workers[0], "sending_again_after_unknown_outcome", internalId=internal_id)
    metrics = await scene.metrics(scene.workers[0])
    assert metrics['messages_unknown_outcome_total{decision="retry"}'] >= 1
    assert metrics['messages_unknown_outcome_total{decision="sent again"}'] >= 1


@pytest.mark.parametrize("prefix", [TAKEN_THEN_RESET, "999512"], ids=["reset before the answer", "cut in the answer"])
async def test_the_setting_dead_letter_stops_there(stage: Scene, prefix: str) -> None:
    await stage.start_worker(ON_UNKNOWN_OUTCOME="dead-letter")
    await stage.watch()
    to = number(prefix)
    internal_id = await stage.publish(to)
    letter = await stage.letter(internal_id)
    assert letter.headers["x-error-type"] == "OUTCOME_UNKNOWN"
    assert letter.headers["x-unknown-outcomes"] == 1
    assert len(stage.taken(to)) == 1
    # Another copy of the same message is in doubt too, and an explicit resend is not.
    await stage.publish(to, internal_id=internal_id)
    await stage.until(lambda: len(stage.letters_of(internal_id)) == 2)
    assert len(stage.taken(to)) == 1
    await stage.publish(to, internal_id=internal_id, headers={"x-resend": "checked-by-hand"})
    await stage.until(lambda: len(stage.taken(to)) == 2)


async def test_a_header_overrides_the_setting_for_one_message(scene: Scene) -> None:
    to = number(TAKEN_THEN_RESET)
    internal_id = await scene.publish(to, headers={"x-on-unknown-outcome": "dead-letter"})
    letter = await scene.letter(internal_id)
    assert letter.headers["x-error-type"] == "OUTCOME_UNKNOWN"
    assert len(scene.taken(to)) == 1


async def test_a_read_timeout_is_unknown(stage: Scene) -> None:
    await stage.start_worker(ON_UNKNOWN_OUTCOME="dead-letter", META_API_TIMEOUT_MS="300")
    await stage.watch()
    letter = await stage.letter(await stage.publish(number("999402000")))
    assert letter.headers["x-error-type"] == "OUTCOME_UNKNOWN"


async def test_a_refused_connection_never_left_and_is_always_retried(stage: Scene) -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    await stage.start_worker(ON_UNKNOWN_OUTCOME="dead-letter", META_API_BASE_URL=nobody, META_API_MAX_RETRIES="1")
    await stage.watch()
    letter = await stage.letter(await stage.publish(number()))
    assert letter.headers["x-error-type"] == "NETWORK_ERROR"
    assert letter.headers["x-attempts"] == 2
    assert "x-unknown-outcomes" not in letter.headers


async def test_a_name_that_does_not_resolve_never_left(stage: Scene) -> None:
    await stage.start_worker(
        ON_UNKNOWN_OUTCOME="dead-letter", META_API_BASE_URL="http://graph.invalid", META_API_MAX_RETRIES="0"
    )
    await stage.watch()
    letter = await stage.letter(await stage.publish(number()))
    assert letter.headers["x-error-type"] == "NETWORK_ERROR"
