from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from stream.contract.headers import History
from stream.contract.identifiers import TenantId, Wamid
from stream.contract.messages import UNKNOWN_OWNER, Whose
from stream.delivery import report
from stream.delivery.decision import Acknowledge, DeadLetter, Decision, LeaveToBroker, Move, Postpone, RetryAfter
from stream.delivery.outcome import Duplicate, Sent
from stream.meta.client import Accepted
from stream.meta.failure import Failure
from stream.observe.logging import Wamids, configure_logging
from tests.unit.doubles import message

HISTORY = History(datetime(2026, 11, 23, 12, tzinfo=UTC), 1)
FIRST = Accepted(Wamid("wamid.A"), None, None, 200)
SENT = Acknowledge(Sent(FIRST, 0.1234))
WAIT = RetryAfter(Failure.of("RATE_LIMIT", "slow down"), 10.0, HISTORY.after("RATE_LIMIT", 1))
GIVE_UP = DeadLetter(Failure.of("INVALID_PHONE", "not a number"), 2)


@contextmanager
def real_logging(wamids: Wamids = "full") -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("INFO", wamids=wamids)
    try:
        yield
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)


def logged(decision: Decision, *, known: bool = True) -> dict[str, Any]:
    with structlog.testing.capture_logs() as lines:
        report.settled(message(correlationId="c-1") if known else UNKNOWN_OWNER, HISTORY, decision)
    (line,) = lines
    return dict(line)


@pytest.mark.parametrize(
    ("decision", "level", "event"),
    [(SENT, "info", "delivered"), (WAIT, "warning", "waiting_for_retry"), (GIVE_UP, "error", "dead_lettered")],
)
def test_the_level_says_the_decision(decision: Decision, level: str, event: str) -> None:
    line = logged(decision)
    assert (line["log_level"], line["event"], line["attempt"]) == (level, event, 2)


def test_the_line_of_a_letter_that_is_no_message_says_whose_it_is_where_that_is_known() -> None:
    with structlog.testing.capture_logs() as lines:
        report.settled(Whose(TenantId("acme"), None), HISTORY, GIVE_UP)
    assert lines[0]["tenantId"] == "acme"
    assert "internalId" not in lines[0]


@pytest.mark.parametrize("decision", [SENT, WAIT, GIVE_UP])
def test_a_line_says_whose_message_it_is_and_shows_neither_number_nor_text(decision: Decision) -> None:
    line = logged(decision)
    who = {
        "tenantId": "acme",
        "internalId": "order-4711",
        "phoneNumberId": "100000001",
        "correlationId": "c-1",
        "type": "text",
        "recipient": "***1234",
    }
    assert who.items() <= line.items()
    assert "6505551234" not in str(line)
    assert "Hello" not in str(line)


@pytest.mark.parametrize(("decision", "name"), [(WAIT, "RATE_LIMIT"), (GIVE_UP, "INVALID_PHONE")])
def test_a_failure_says_why(decision: Decision, name: str) -> None:
    assert logged(decision)["errorType"] == name


@pytest.mark.parametrize(
    ("decision", "level", "event"),
    [
        (Acknowledge(Duplicate(FIRST)), "info", "duplicate"),
        (Postpone(2.0, HISTORY), "warning", "waiting_for_other_send"),
        (Postpone(2.0, HISTORY, "turn"), "warning", "waiting_for_turn"),
        (Postpone(2.0, HISTORY, "pace", "the rate limit of its tenant"), "info", "waiting_for_pace"),
        (Move("whatsapp-lane-6"), "debug", "moved_to_lane"),
        (LeaveToBroker("no copy"), "error", "dead_lettered_by_broker"),
        (Postpone(2.0, HISTORY, "backoff"), "warning", "waiting_for_backoff"),
    ],
)
def test_a_message_that_was_not_sent_now_is_reported_too(decision: Decision, level: str, event: str) -> None:
    line = logged(decision)
    assert (line["log_level"], line["event"], line["internalId"]) == (level, event, "order-4711")


def test_bytes_that_are_no_message_are_reported_too() -> None:
    assert logged(GIVE_UP, known=False)["event"] == "dead_lettered"


def test_a_type_of_a_publishers_making_is_cut() -> None:
    assert len(report.log_fields(message("x" * 10_000, {}))["type"]) == 64


def test_a_line_is_one_json_object_without_secrets_or_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("test")
    error = ValueError("Bearer EAAGm0PX4ZCpsBAKvLOq for +16505551234")
    with real_logging():
        log.error("unexpected_error", exc_info=error, tenantId="1234567890", token="s3cret", detail="to +16505551234")
    (line,) = capsys.readouterr().out.splitlines()
    shown = json.loads(line)
    assert (shown["event"], shown["level"], shown["tenantId"]) == ("unexpected_error", "error", "1234567890")
    assert "ValueError" in shown["exception"]
    assert not [word for word in ("EAAG", "s3cret", "6505551234") if word in line]


def test_the_lines_of_other_libraries_take_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    with real_logging():
        logging.getLogger("aio_pika").info("chatty")
        logging.getLogger("aio_pika").warning("cannot reach %s", "amqp://guest:s3cret@rabbit:5672")
    (line,) = capsys.readouterr().out.splitlines()
    shown = json.loads(line)
    assert (shown["level"], shown["logger"]) == ("warning", "aio_pika")
    assert "s3cret" not in line


def test_our_lines_and_those_of_other_libraries_stay_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("test")
    with real_logging():
        log.info("first")
        logging.getLogger("other").warning("second \u00e9")
        log.warning("third", detail="\u00e9")
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["first", "second \u00e9", "third"]
    times = [datetime.fromisoformat(line["timestamp"]) for line in lines]
    assert times == sorted(times)
    assert datetime.now(UTC) - times[0] < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_795_435_200_000_001_999, "2026-11-23T12:00:00.000001Z"),
        (1_795_435_200_999_999_999, "2026-11-23T12:00:00.999999Z"),
    ],
)
def test_a_line_says_when_to_the_microsecond(
    ns: int, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with real_logging():
        monkeypatch.setattr("stream.observe.logging.time.time_ns", lambda: ns)
        structlog.get_logger("test").info("now")
    assert json.loads(capsys.readouterr().out)["timestamp"] == shown


WAMID = "wamid.HBgLMTY1MDU1NTEyMzQVAgARGBI1RjQyNUE3NEYxMzAzMzQ5MkEA"  # base64, with 16505551234 in it


@pytest.mark.parametrize(
    ("wamids", "wamid", "shown"),
    [
        ("full", WAMID, WAMID),
        ("masked", WAMID, "wamid.***" + WAMID[-12:]),
        ("masked", "wamid.HBgLMTY1MDU1NTEyMzQ=", "wamid.***"),
    ],
)
def test_a_wamid_which_holds_the_recipients_number_is_shown_as_the_setting_says(
    capsys: pytest.CaptureFixture[str], wamids: Wamids, wamid: str, shown: str
) -> None:
    with real_logging(wamids):
        structlog.get_logger().info("delivered", wamid=wamid)
        logging.getLogger("a.library").warning("answered %s", wamid)
    ours, theirs = map(json.loads, capsys.readouterr().out.splitlines())
    assert (ours["wamid"], theirs["event"]) == (shown, f"answered {shown}")
