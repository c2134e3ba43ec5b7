"""What an operator reads of dead letters: in full where it is typed again, without numbers, and as it was written."""

from __future__ import annotations

from io import StringIO
from typing import Any, cast

import pytest
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from stream.operations.dead_letters.commands import write_line
from stream.operations.dead_letters.groups import Groups
from stream.operations.dead_letters.looking import Seen
from stream.operations.dead_letters.printing import print_groups
from stream.operations.exits import ExitCode
from stream.operations.output import REPLACED
from tests.commands import stream
from tests.unit.doubles import Channel
from tests.unit.test_letters import BODY, WRITTEN, letter


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


def test_a_terminal_obeys_no_detail(capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{REPLACED}[2Jgone" in printed(capsys, "\x1b[2Jgone")


def test_a_letter_of_a_list_is_one_line_whatever_it_says() -> None:
    lines = StringIO()
    write_line(lines, seen(x_error_detail="first\nsecond\x1b[2J"), as_json=False)
    assert lines.getvalue().count("\n") == 1
    assert lines.getvalue().endswith(f"first second{REPLACED}[2J\n")


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
