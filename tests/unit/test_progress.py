"""A bar shows how far a long command is: to people only."""

from __future__ import annotations

import pytest

from stream.operations.progress import progress


@pytest.mark.parametrize(("terminal", "shown"), [("1", True), ("", False)])
def test_a_terminal_shows_how_far_a_look_is_and_a_file_gets_nothing(
    terminal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, shown: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", terminal)  # rich takes the output for a terminal
    with progress("looking", 200_000) as bar:
        bar(50_000)
    out, err = capsys.readouterr()
    assert (out, "looking" in err, "25%" in err) == ("", shown, shown)
