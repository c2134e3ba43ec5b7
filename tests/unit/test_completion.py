"""The shell completes the operator's commands."""

from __future__ import annotations

import pytest

from stream.operations.cli import main


@pytest.mark.parametrize(("typed", "offered"), [("stream ca", {"cache"}), ("stream cache ", {"clear", "invalidate"})])
def test_the_shell_is_told_which_words_may_follow(
    typed: str, offered: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_STREAM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
    with pytest.raises(SystemExit):
        main([])
    assert set(capsys.readouterr().out.split()) >= offered
