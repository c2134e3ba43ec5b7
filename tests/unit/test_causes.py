"""Which letters are of one cause, and which of them are worth replaying."""

from __future__ import annotations

from typing import Any

import pytest

from stream.contract.replay import Replay
from stream.meta.causes import fingerprint, normalised, replay_of
from stream.meta.errors import ERROR_TABLE, ROWS, ErrorRule

AUTH, OUTAGE, WRONG = (ERROR_TABLE[name] for name in ("AUTH_ERROR", "META_SERVER_ERROR", "INVALID_REQUEST"))
LETTER: dict[str, Any] = {
    "code": 190,
    "subcode": 463,
    "detail": "Error validating access token: session has expired on 2026-11-23",
    "template_name": None,
    "tenant_id": "acme",
}


def of(rule: ErrorRule | str = AUTH, **changes: Any) -> str:
    return fingerprint(rule, **{**LETTER, **changes})


@pytest.mark.parametrize(
    "changes",
    [{"code": 102}, {"code": None}, {"subcode": 460}, {"detail": "revoked"}, {"template_name": "welcome"}],
)
def test_another_code_detail_or_template_is_another_cause(changes: dict[str, Any]) -> None:
    assert of(**changes) != of()


def test_another_type_is_another_cause() -> None:
    assert len({of(AUTH), of(OUTAGE), of("SOME_LATER_TYPE")}) == 3


def test_a_cause_that_the_tenant_must_cure_is_the_tenants_own() -> None:
    assert of(AUTH, tenant_id="globex") != of(AUTH)
    assert of("SOME_LATER_TYPE", tenant_id="globex") != of("SOME_LATER_TYPE")
    assert of(WRONG, template_name="welcome", tenant_id="globex") != of(WRONG, template_name="welcome")


def test_an_outage_is_one_cause_for_all_tenants() -> None:
    assert of(OUTAGE, tenant_id="globex") == of(OUTAGE)


def test_ids_and_numbers_in_the_detail_do_not_part_what_belongs_together() -> None:
    one = of(WRONG, detail="order-a of acme: ***1234 is no number", ids=("order-a",))
    assert of(WRONG, detail="order-b of globex: ***98 is no number", tenant_id="globex", ids=("order-b",)) == one


@pytest.mark.parametrize(
    ("detail", "rest"),
    [
        ("(#131030) Recipient ***1234  not in\nallowed list", "(##) Recipient # not in allowed list"),
        ("components[0].parameters[12] is missing", "components[#].parameters[#] is missing"),
        ("replica ip-10-2-3-4:17 sent it", "replica # sent it"),
        ("valid until 2026-11-24T06:20:00+00:00", "valid until #"),
        ("no answer came: ReadTimeout", "no answer came: ReadTimeout"),
        ("", ""),
    ],
)
def test_only_what_changes_from_letter_to_letter_is_left_out(detail: str, rest: str) -> None:
    assert normalised(detail, []) == rest


def test_an_id_inside_a_word_stays() -> None:
    assert normalised("a tenant at a place", ["a"]) == "# tenant at # place"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_send_without_a_known_outcome_puts_any_letter_in_doubt(row: ErrorRule) -> None:
    assert replay_of(row, in_doubt=True) is Replay.IN_DOUBT
    assert replay_of(row, in_doubt=False) is row.replay


def test_every_row_whose_advice_is_to_replay_lets_it_be_replayed_after_the_cure() -> None:
    advised = {row.name: row.replay for row in ROWS if "replay" in row.advice.lower()}
    # Both say what must come first: a day's wait, which a replay within the message's validity would not keep to, and a
    # look whether Meta has it.
    exceptions = {"MARKETING_LIMIT": Replay.FIX_FIRST, "POISON": Replay.IN_DOUBT}
    assert {name: found for name, found in advised.items() if found is not Replay.SAFE} == exceptions


def test_rows_that_the_worker_retries_are_worth_replaying_but_for_media_that_stays_as_it_is() -> None:
    retried = {row.name for row in ROWS if row.retryable and row.replay is not Replay.SAFE}
    assert retried == {"MEDIA_DOWNLOAD_FAILED"}


@pytest.mark.parametrize(
    ("replay", "names"),
    [
        (Replay.IN_DOUBT, {"INVALID_RESPONSE", "OUTCOME_UNKNOWN", "POISON"}),
        (
            Replay.POINTLESS,
            {"RECIPIENT_NOT_ON_WHATSAPP", "MARKETING_OPTED_OUT", "RECIPIENT_IN_EXPERIMENT", "MESSAGE_EXPIRED"},
        ),
    ],
)
def test_what_must_not_be_replayed_by_itself_was_agreed(replay: Replay, names: set[str]) -> None:
    assert {row.name for row in ROWS if row.replay is replay} == names


def test_advice_to_wait_a_day_before_a_replay_says_what_ends_the_validity_by_then() -> None:
    waits = [row.advice for row in ERROR_TABLE.values() if "24 hours" in row.advice and "replay" in row.advice]
    assert waits
    assert all("MESSAGE_MAX_AGE_MS" in advice for advice in waits)
