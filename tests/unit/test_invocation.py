"""What FastStream was asked to do is known before it has started anything."""

from __future__ import annotations

import pytest

from stream.operations.invocation import Invocation

APP = "stream.app:app"


@pytest.mark.parametrize(
    ("words", "environ", "workers"),
    [
        (["run", APP], {}, 1),
        (["run", APP, "--workers", "2"], {}, 2),
        (["run", "--workers=3", APP], {}, 3),
        (["run", "-w", "4", APP], {}, 4),
        (["run", "-w5", APP], {}, 5),
        (["run", APP, "-w", "6", "--workers", "1"], {}, 1),
        (["run", APP], {"FASTSTREAM_WORKERS": "7"}, 7),
        (["run", APP, "--workers", "1"], {"FASTSTREAM_WORKERS": "7"}, 1),
        (["docs", "gen", APP], {"FASTSTREAM_WORKERS": "7"}, 1),
        (["tests", "-w", "2"], {}, 1),  # another program's word
        ([], {}, 1),
    ],
)
def test_the_workers_are_counted_as_faststream_counts_them(
    words: list[str], environ: dict[str, str], workers: int
) -> None:
    assert Invocation.of(words, environ).workers == workers


@pytest.mark.parametrize(
    ("words", "documents"),
    [(["docs", "gen", APP], True), (["docs", "serve", APP], True), (["run", APP], False), ([], False)],
)
def test_the_contract_is_asked_for_by_its_command(words: list[str], documents: bool) -> None:  # noqa: FBT001
    assert Invocation.of(words, {}).documents is documents
