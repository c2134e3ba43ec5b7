"""The README's picture of the demo: made by `make recording` from what the demo printed."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from types import ModuleType
from xml.etree import ElementTree as ET

from sandbox.demo import read_cases
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


def test_the_recording_shows_the_command_and_every_ending_of_the_demos_file() -> None:
    rows = shown(RECORDING)
    assert rows[0] == "$ make demo"
    counted = dict(re.findall(r"^(?:dead-lettered: )?(\w[\w ]*?) +\d+ +(\d+)$", "\n".join(rows), re.MULTILINE))
    expected = Counter(case.expect for case in read_cases())
    assert {name: int(counted.get(name, 0)) for name in expected} == expected, "run: make recording"


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


def test_what_does_not_fit_on_a_screen_is_left_out_and_counted() -> None:
    rows = [str(row) for row in range(100)]
    cut = RECORD.one_screen(rows)
    assert len(cut) == RECORD.MOST_ROWS
    assert cut[-3:] == ["41", f"{RECORD.LEFT_OUT} 57 more lines", "99"]
    assert RECORD.one_screen(rows[:44]) == rows[:44]
