"""The README's picture of the demo: made by `make recording` from what the demo printed."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from types import ModuleType
from xml.etree import ElementTree as ET

import pytest

from sandbox.demo import DELIVERED, RETRIED, read_cases, show_recoveries
from sandbox.operator import Ended, typed
from sandbox.recoveries import RECOVERIES
from tests.pages import ROOT

SVG = "{http://www.w3.org/2000/svg}"
RECORDING = (ROOT / "docs" / "demo.svg").read_text()


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", ROOT / ".ci" / "record.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECORD = load()


def shown(svg: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - our own file


def test_the_recording_shows_the_command_and_how_the_messages_of_the_demos_file_ended() -> None:
    rows = shown(RECORDING)
    assert rows[0] == "$ make demo"
    counted = dict(re.findall(r"^(?:dead-lettered: )?(\w[\w ]*?) +\d+ +(\d+)$", "\n".join(rows), re.MULTILINE))
    expected = Counter(case.expect for case in read_cases())
    assert counted.pop("in all") == str(expected.total()), "run: make recording"
    assert {DELIVERED, RETRIED} < set(counted)
    assert {name: int(count) for name, count in counted.items()}.items() <= expected.items(), "run: make recording"


def test_the_recording_ends_as_the_demo_does(capsys: pytest.CaptureFixture[str]) -> None:
    show_recoveries(25, [Ended(0, "")] * len(RECOVERIES))
    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    rows = shown(RECORDING)
    assert set(printed[:2]) < set(rows), "run: make recording"
    assert rows[-1] == printed[-1]  # not "make[1]: Leaving directory"
    assert set(typed(RECOVERIES[-1].replay).splitlines()) < set(rows), "run: make recording"


def test_the_recording_is_readable_in_light_and_dark_and_loads_nothing() -> None:
    assert "prefers-color-scheme: dark" in RECORDING
    assert re.findall(r"<script|@import|url\(|href", RECORDING) == []
    assert len(RECORDING) < 40_000
    size = ET.fromstring(RECORDING).attrib  # noqa: S314 - our own file
    assert int(size["width"]) < 1000
    assert int(size["height"]) < 900


def test_a_picture_is_what_a_terminal_shows_in_the_end() -> None:
    rows = RECORD.lines("one\r\n\x1b[1mtwo\x1b[0m\r\n 10 %\r 90 %\r\n")
    assert rows == ["one", "two", " 90 %"]
    assert shown(RECORD.picture("make <demo>", rows)) == ["$ make <demo>", *rows]


def test_of_a_run_of_progress_lines_the_first_and_the_last_are_shown() -> None:
    rows = ["start", "sent  1", "sent  2", "sent 30", "sent 31", "", "", "", "a 1", "b 1", "c 1"]
    assert RECORD.shortened(rows) == ["start", "sent  1", RECORD.LEFT_OUT, "sent 31", "", "", "", "a 1", "b 1", "c 1"]
    errors = [f"dead-lettered: {name} 1" for name in "ABCD"]
    assert RECORD.shortened(errors) == [errors[0], RECORD.LEFT_OUT, errors[3]]


def test_what_does_not_fit_on_a_screen_is_left_out_and_counted() -> None:
    rows = [str(row) for row in range(100)]
    cut = RECORD.one_screen(rows)
    assert len(cut) == RECORD.MOST_ROWS
    assert cut[25:28] == ["25", f"{RECORD.LEFT_OUT} 55 more lines", "81"]
    assert cut[-1] == "99"
    assert RECORD.one_screen(rows[:46]) == rows[:46]
