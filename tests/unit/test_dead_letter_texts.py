"""What an operator reads of dead letters: in full where it is typed again, without numbers, and as it was written."""

from __future__ import annotations

import itertools
from io import StringIO
from typing import Any, cast

import orjson
import pytest
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from stream.operations.dead_letters.commands import write_line
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.groups import Groups
from stream.operations.dead_letters.looking import Seen
from stream.operations.dead_letters.printing import nothing_found, print_groups
from stream.operations.dead_letters.story import story
from stream.operations.exits import ExitCode
from stream.operations.output import REPLACED
from tests.commands import stream
from tests.unit.doubles import Channel
from tests.unit.test_letters import BODY, NOW, WRITTEN, letter


def seen(body: bytes = BODY, **headers: Any) -> Seen:
    """A letter with its message, as a look shows it."""
    merged = {**WRITTEN, **{name.replace("_", "-"): value for name, value in headers.items()}}
    header = ContentHeader(body_size=len(body), properties=Basic.Properties(headers=merged))
    delivery = Basic.Deliver("look-0000", 1, exchange="", routing_key="outbound-failed")
    return Seen(letter(body, **headers), DeliveredMessage(delivery, header, body, cast("AbstractChannel", Channel([]))))


def printed(capsys: pytest.CaptureFixture[str], detail: str = "the token has expired") -> str:
    groups = Groups()
    groups.add(letter(x_error_detail=detail))
    print_groups(groups.all())
    return capsys.readouterr().out


def test_a_filter_that_means_no_letter_is_told_apart_from_an_empty_queue() -> None:
    assert [nothing_found(lying) for lying in (0, 1_200)] == [
        "no dead letters",
        "none of 1,200 dead letters is meant by the filter",
    ]


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_fingerprints_and_ids_are_printed_in_full_through_a_pipe_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out = printed(capsys)
    assert letter().fingerprint in out
    assert letter().id in out


def test_a_detail_is_printed_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Missing [id], close [/to]" in printed(capsys, "Missing [id], close [/to]")


def test_a_long_detail_goes_on_below_itself_and_is_not_cut_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    detail = " ".join(f"word{n}" for n in range(16))
    lines = printed(capsys, detail).splitlines()
    assert max(map(len, lines)) <= 80
    first = next(n for n, line in enumerate(lines) if line.startswith("  detail"))
    below = list(itertools.takewhile(lambda line: line.startswith(" " * 15), lines[first + 1 :]))
    assert " ".join([lines[first][15:], *(line[15:] for line in below)]) == detail


def test_a_terminal_obeys_no_detail(capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{REPLACED}[2Jgone" in printed(capsys, "\x1b[2Jgone")


def test_a_letter_of_a_list_is_one_line_whatever_it_says() -> None:
    lines = StringIO()
    write_line(lines, seen(x_error_detail="first\nsecond\x1b[2J"), as_json=False)
    assert lines.getvalue().count("\n") == 1
    assert lines.getvalue().endswith(f"first second{REPLACED}[2J\n")


NUMBER = "4915112345678"
FULL_OF_NUMBERS: list[dict[str, Any]] = [
    {"to": int(NUMBER), "type": "text"},
    {"to": "DE.1234567", "recipient": NUMBER, "type": "text"},
    {"contacts": [{"phones": [{"phone": f"+{NUMBER}", "wa_id": NUMBER}, {"phone": int(NUMBER)}]}]},
    {"text": {"body": f"call {NUMBER} now"}},
    {"template": {"components": [{"parameters": [{"type": "text", "text": int(NUMBER)}]}]}},
]


def with_payload(payload: dict[str, Any]) -> bytes:
    return orjson.dumps({**orjson.loads(BODY), "wabaPayload": payload})


@pytest.mark.parametrize("payload", FULL_OF_NUMBERS)
def test_a_story_shows_no_number_until_it_is_asked_to(payload: dict[str, Any]) -> None:
    told = story(seen(with_payload(payload)), reveal=False)
    assert NUMBER not in told.to_text()
    assert NUMBER not in str(told.to_json())
    assert NUMBER in story(seen(with_payload(payload)), reveal=True).to_text()


@pytest.mark.parametrize("reveal", [True, False])
def test_a_story_never_shows_a_secret_of_a_header(*, reveal: bool) -> None:
    told = story(seen(x_upstream_token="opensesame", x_note="Bearer opensesame"), reveal=reveal)
    assert "opensesame" not in told.to_text()


@pytest.mark.parametrize("value", [NUMBER, int(NUMBER), [{"customer": int(NUMBER)}]])
def test_who_may_see_numbers_sees_those_of_headers(value: object) -> None:
    told = story(seen(x_note=value), reveal=False)
    assert NUMBER not in told.to_text()
    assert NUMBER not in str(told.to_json())
    assert NUMBER in story(seen(x_note=value), reveal=True).to_text()


def test_a_number_that_is_no_phone_number_is_shown() -> None:
    payload = with_payload({"amount_1000": 12_345_678, "timestamp": 1_795_000_000, "quantity": 999_999, "flag": True})
    found = seen(payload, x_error_subcode=2_494_010)
    (found.message.header.properties.headers or {})["timestamp_in_ms"] = 1_795_000_000_123
    text = story(found, reveal=False).to_text()
    for shown in ("12345678", "1795000000", "999999", "true", "2494010", "1795000000123"):
        assert shown in text


def test_a_recipient_that_is_a_json_number_can_be_filtered() -> None:
    assert Filter(recipient_ending=NUMBER[-4:]).takes(letter(with_payload({"to": int(NUMBER)})), NOW)


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize(
    "option", ["--type", "--tenant", "--fingerprint", "--phone-number-id", "--recipient-ending", "--id"]
)
def test_an_empty_filter_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert stream("dead-letters", "groups", option, value) == ExitCode.WRONG_USE
    assert "is empty" in capsys.readouterr().err


def test_a_whole_number_is_no_ending(capsys: pytest.CaptureFixture[str]) -> None:
    assert stream("dead-letters", "groups", "--recipient-ending", "5551234") == ExitCode.WRONG_USE
    assert "6 digits" in capsys.readouterr().err


def test_who_replays_is_told_to_set_what_ends_a_validity(capsys: pytest.CaptureFixture[str]) -> None:
    assert stream("dead-letters", "replay", "--help") == ExitCode.DONE
    assert "MESSAGE_MAX_AGE_MS" in capsys.readouterr().out
