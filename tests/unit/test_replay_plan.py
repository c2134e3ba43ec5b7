"""What a job replays, how fast, when it stops, and what its copies carry."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from itertools import islice
from typing import Any

import orjson
import pytest

from stream.broker.wire import UNREADABLE, Unreadable
from stream.operations.dead_letters.copying import copy_for, ledger_key, replayed_letter, resend_of, routing_key
from stream.operations.dead_letters.edits import NotAllowed, edited, read_edits
from stream.operations.dead_letters.job import Job, Options, Status
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.plan import Known, Permission, Skip, left_by_itself, left_by_ledger
from stream.operations.dead_letters.ramp import RECENT, Tally, judged_with, must_stop, steps
from stream.operations.dead_letters.replay import outcome
from tests.scene import text_message
from tests.unit.doubles import incoming, properties_of
from tests.unit.test_letters import BODY, WRITTEN, letter

NO, ALL = Permission(), Permission(in_doubt=True, anyway=True)
EXPIRED: dict[str, Any] = {"x_first_seen": "2026-11-20T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("found", "without", "allowed"),
    [
        (letter(), None, None),
        (letter(x_replay="in-doubt"), Skip.IN_DOUBT, None),
        (letter(x_replay="fix-first"), Skip.FIX_FIRST, None),
        (letter(x_replay="pointless"), Skip.POINTLESS, None),
        (letter(**EXPIRED), Skip.EXPIRED, Skip.EXPIRED),
        (letter(x_replay="in-doubt", **EXPIRED), Skip.EXPIRED, Skip.EXPIRED),
    ],
)
def test_a_letter_is_left_unless_it_is_safe_or_the_operator_allows_it(
    found: Letter, without: Skip | None, allowed: Skip | None
) -> None:
    assert left_by_itself(found, NO, is_message=True) is without
    assert left_by_itself(found, ALL, is_message=True) is allowed


def test_each_permission_is_for_one_class() -> None:
    doubtful, wrong = letter(x_replay="in-doubt"), letter(x_replay="fix-first")
    assert left_by_itself(doubtful, Permission(anyway=True), is_message=True) is Skip.IN_DOUBT
    assert left_by_itself(wrong, Permission(in_doubt=True), is_message=True) is Skip.FIX_FIRST


def test_an_edit_allows_what_must_be_fixed_first_and_no_more() -> None:
    edited_only = Permission(fixed=True)
    assert left_by_itself(letter(x_replay="fix-first"), edited_only, is_message=True) is None
    assert left_by_itself(letter(x_replay="pointless"), edited_only, is_message=True) is Skip.POINTLESS
    assert left_by_itself(letter(x_replay="in-doubt"), edited_only, is_message=True) is Skip.IN_DOUBT


def test_doubt_does_not_hide_that_a_replay_is_pointless() -> None:
    both = letter(x_replay="in-doubt", x_error_type="RECIPIENT_NOT_ON_WHATSAPP")
    assert left_by_itself(both, Permission(in_doubt=True), is_message=True) is Skip.POINTLESS
    assert left_by_itself(both, Permission(anyway=True), is_message=True) is Skip.IN_DOUBT
    assert left_by_itself(both, ALL, is_message=True) is None


def test_what_is_no_message_is_always_left() -> None:
    assert left_by_itself(letter(), ALL, is_message=False) is Skip.NO_MESSAGE


def test_what_meta_has_is_never_sent_again() -> None:
    assert left_by_ledger(Known(wamid="wamid.A"), ALL) is Skip.ALREADY_SENT
    assert left_by_ledger(Known(in_doubt=True), NO) is Skip.IN_DOUBT
    assert left_by_ledger(Known(in_doubt=True), ALL) is None
    assert left_by_ledger(Known(), NO) is None


@pytest.mark.parametrize(
    ("total", "sizes"),
    [
        (0, []),
        (1, [1]),
        (6, [1, 5]),
        (27, [1, 5, 20, 1]),
        (126, [1, 5, 20, 100]),
        (700, [1, 5, 20, 100, 250, 250, 74]),
    ],
)
def test_a_job_begins_with_few_letters(total: int, sizes: list[int]) -> None:
    made = list(steps(total, 50))
    assert [step.size for step in made] == sizes
    assert [step.in_ramp for step in made] == [number < 4 for number in range(len(sizes))]
    assert all(step.waits for step in made[:4] + made[-1:])
    assert not any(step.waits for step in made[4:-1])


def test_a_slow_job_still_goes_on() -> None:
    assert sum(step.size for step in steps(130, 0.1)) == 130


@pytest.mark.parametrize(
    ("delivered", "failed", "waiting", "now", "later"),
    [
        (0, 0, 1, False, True),
        (1, 0, 0, False, False),
        (0, 1, 0, True, True),
        (4, 1, 0, False, False),
        (3, 1, 1, False, True),
        (15, 5, 0, True, True),
        (0, 0, 0, False, False),
    ],
)
def test_a_step_that_goes_badly_stops_the_job(
    delivered: int, failed: int, waiting: int, *, now: bool, later: bool
) -> None:
    tally = Tally(delivered, failed, waiting)
    assert must_stop(tally, 0.2, patient=True) is now
    assert must_stop(tally, 0.2, patient=False) is later


@pytest.mark.parametrize("rate", [50, 1000])
def test_a_cause_that_comes_back_after_many_good_letters_stops_the_job_within_a_step(rate: float) -> None:
    judged: list[str] = []
    for number, step in enumerate(islice(steps(200_000, rate), 4, 25)):
        judged = judged_with(judged, (), [f"{number}/{each}" for each in range(step.size)])
    failed = sum(name.startswith("20/") for name in judged)  # all of the last step
    assert must_stop(Tally(len(judged) - failed, failed, 0), 0.2, patient=True)


def test_a_letter_is_judged_until_it_has_an_outcome_and_for_a_while_after() -> None:
    before = [str(number) for number in range(RECENT + 2)]
    assert judged_with(before, {"0"}, ["new"]) == [*before[2:], "0", "new"]


def test_a_limit_of_all_never_stops() -> None:
    assert not must_stop(Tally(0, 9, 1), 1.0, patient=False)


@pytest.mark.parametrize(
    "text",
    ["to", "text.body=x", "template=x", "messaging_product=x", "template.components.0=x", "metadata.tenantId=x", "=x"],
)
def test_other_fields_cannot_be_changed(text: str) -> None:
    with pytest.raises(NotAllowed, match="can be changed"):
        read_edits([text])


def template(*texts: str) -> bytes:
    message = text_message("16505551234", "acme", "order-1")
    parameters = [{"type": "text", "text": text} for text in texts]
    message["wabaPayload"] |= {
        "type": "template",
        "template": {
            "name": "welcome",
            "language": {"code": "en"},
            "components": [{"type": "body", "parameters": parameters}],
        },
    }
    return orjson.dumps(message)


def test_an_edit_changes_what_it_names_and_tells_the_difference() -> None:
    edits = read_edits(
        ["to=49301234567", "template.name=hello", "template.language=de", "template.components.0.parameters.1.text=B"]
    )
    body, changed = edited(template("x", "y"), edits)
    payload = orjson.loads(body)["wabaPayload"]
    assert (payload["to"], payload["template"]["name"]) == ("49301234567", "hello")
    assert payload["template"]["language"] == {"code": "de"}
    assert [each["text"] for each in payload["template"]["components"][0]["parameters"]] == ["x", "B"]
    assert changed == {
        "to": ["***1234", "***4567"],
        "template.name": ["welcome", "hello"],
        "template.language.code": ["en", "de"],
        "template.components.0.parameters.1.text": ["y", "B"],
    }


def test_a_difference_tells_no_number_of_a_template_either() -> None:
    _, changed = edited(template("call +4915112345678"), {"template.components.0.parameters.0.text": "+4930123456789"})
    assert changed == {"template.components.0.parameters.0.text": ["call ***5678", "***6789"]}


@pytest.mark.parametrize("path", ["template.name", "template.components.7.parameters.0.text"])
def test_a_field_that_is_not_there_cannot_be_changed(path: str) -> None:
    with pytest.raises(NotAllowed, match="no such field"):
        edited(BODY, {path: "x"})


def test_without_an_edit_the_bytes_stay() -> None:
    odd = BODY.replace(b",", b" , ")
    assert edited(odd, {}) == (odd, {})


def copied(edits: dict[str, str] | None = None, resend: str | None = None, **headers: Any) -> dict[str, Any]:
    merged = {**WRITTEN, "x-attempt": 3, "x-retries": {"AUTH_ERROR": 1}, "x-upstream": "kept", **headers}
    copy = copy_for(incoming(BODY, headers=merged), letter(**headers), "job-1", edits or {}, resend)
    return dict(properties_of(copy).headers or {})


def test_a_copy_has_no_failure_and_no_history_but_when_it_was_first_seen() -> None:
    instructions: dict[str, Any] = {"x-on-unknown-outcome": "dead-letter", "x-unknown-outcomes": 1}
    assert copied(**instructions) == {
        "x-first-seen": WRITTEN["x-first-seen"],
        "x-upstream": "kept",
        "x-on-unknown-outcome": "dead-letter",
        "x-unknown-outcomes": 1,
        "x-original-routing-key": "outbound.processed.acme",
        "x-replays": 1,
        "x-replay-job": "job-1",
        "x-replayed-from": letter(**instructions).id,
    }


def test_a_copy_keeps_the_expiration_that_rabbitmq_took_off() -> None:
    moved: dict[str, Any] = {"x-death": [{"queue": "q", "reason": "rejected", "original-expiration": "7200000"}]}
    assert copied(**moved)["x-original-expiration"] == "7200000"
    moved["x-original-expiration"] = "5"
    assert copied(**moved)["x-original-expiration"] == "5"
    assert "x-original-expiration" not in copied()


DIED: dict[str, Any] = {
    "x-death": [{"queue": "q", "reason": "expired", "routing-keys": ["outbound.processed.acme.eu"]}]
}


def test_a_letter_that_rabbitmq_moved_goes_where_it_was_published() -> None:
    assert routing_key(letter(), DIED) == "outbound.processed.acme.eu"
    assert routing_key(letter(), {"x-original-routing-key": "outbound.processed.a", **DIED}) == "outbound.processed.a"
    copy = copy_for(incoming(BODY, headers=DIED, routing_key=""), letter(), "job-1", {}, None)
    assert (properties_of(copy).headers or {})["x-original-routing-key"] == "outbound.processed.acme.eu"


def test_a_copy_was_never_moved_to_a_lane() -> None:
    assert "x-moved-at" not in copied(None, None, **{"x-moved-at": "2026-11-23T11:00:00+00:00"})


def test_a_copy_of_a_letter_in_doubt_is_a_resend() -> None:
    assert copied(resend=resend_of("0f3a"))["x-resend"] == "replay-0f3a"


def test_a_copy_that_was_changed_says_how() -> None:
    origin = copied({"to": "49301234567"})["x-replayed-from"]
    assert orjson.loads(origin) == {"letter": letter().id, "changed": {"to": ["***1234", "***4567"]}}
    assert replayed_letter(origin) == letter().id


@pytest.mark.parametrize(("origin", "found"), [(None, None), ("ab12", "ab12"), ("{", None), ('{"a": 1}', None)])
def test_the_letter_that_a_copy_came_from_is_found(origin: str | None, found: str | None) -> None:
    assert replayed_letter(origin) == found


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"x-original-routing-key": "outbound.processed.acme.eu"}, "outbound.processed.acme.eu"),
        ({"x-original-routing-key": "whatsapp.wait.1"}, "outbound.processed.acme"),
        ({}, "outbound.processed.acme"),
    ],
)
def test_a_copy_goes_where_its_message_was_published(headers: dict[str, str], key: str) -> None:
    assert routing_key(letter(), headers) == key


def test_a_resend_and_a_change_have_a_place_of_their_own_in_the_ledger() -> None:
    changed, _ = edited(BODY, {"to": "49301234567"})
    assert len({ledger_key(BODY, {}), ledger_key(BODY, {}, "again"), ledger_key(changed, {}), ""}) == 4
    assert ledger_key(b"{}", {}) == ""


def test_the_options_of_a_job_survive_its_record() -> None:
    options = Options(allowed=Permission(in_doubt=True), edits={"to": "1"}, rate=7)
    assert Options.read(orjson.loads(orjson.dumps(asdict(options)))) == options


def test_a_letter_whose_properties_cannot_be_decoded_is_no_message() -> None:
    assert ledger_key(BODY, {UNREADABLE: Unreadable("ValueError: year 60000 is out of range")}) == ""
    assert ledger_key(BODY, {UNREADABLE: "a publisher's own"}) != ""


def test_the_last_line_says_what_cannot_be_copied_and_what_is_gone() -> None:
    job = Job.new("a test", {}, Options(), {"in doubt": 1})
    facts = outcome(job, Counter({Status.IN_DOUBT: 1, Status.NO_COPY: 2, Status.GONE: 3}), "")
    assert (facts["skipped"], facts["gone"]) == ({"in doubt": 2, "cannot be copied": 2}, 3)
