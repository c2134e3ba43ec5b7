"""`stream explain` says what the worker's own table decides."""

from __future__ import annotations

import json

import pytest

from stream.meta.actions import action_of
from stream.meta.errors import ERROR_TABLE, ROWS, ErrorRule
from tests.commands import stream


def explained(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert stream("explain", *words, "--json") == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_code_is_explained_from_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = explained(capsys, "131056")
    assert (found["errorType"], found["scope"], found["replay"]) == ("PAIR_RATE_LIMIT", "pair", "safe")
    assert found["because"] == "the code 131056 decides"
    assert found["worker"] == (
        "retries while the message is valid (at most RATE_LIMIT_MAX_RETRIES times, if set), first after 1 s, "
        "then dead-letters"
    )


@pytest.mark.parametrize(
    ("words", "error_type", "because"),
    [
        (("100", "33"), "PHONE_NUMBER_NOT_FOUND", "the subcode 33 decides, whatever the code is"),
        (("190", "999"), "AUTH_ERROR", "the code 190 decides"),
        (("7777777",), "META_REJECTED", "the table does not know the code 7777777, so the HTTP status 400 decides"),
        (("7777777", "--http-status", "503"), "META_SERVER_ERROR", None),
        (("poison",), "POISON", "its name was given"),
    ],
)
def test_it_says_what_decided(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], error_type: str, because: str | None
) -> None:
    found = explained(capsys, *words)
    assert found["errorType"] == error_type
    assert because in (None, found["because"])


def test_what_is_neither_code_nor_type_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert stream("explain", "NO_SUCH_TYPE") == 2
    assert capsys.readouterr().err == "NO_SUCH_TYPE is no code and no error type of the table\n"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_words_for_what_the_worker_does(row: ErrorRule) -> None:
    assert ("retries" in action_of(row) or "once more" in action_of(row)) is row.retryable


def test_one_retry_is_called_once() -> None:
    assert action_of(ERROR_TABLE["MEDIA_DOWNLOAD_FAILED"]).startswith("retries once, ")


def test_people_get_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert stream("explain", "190") == 0
    assert {"errorType  AUTH_ERROR", "alert      yes", "notify     no"} <= set(capsys.readouterr().out.splitlines())
