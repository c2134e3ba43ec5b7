"""Letters that are discarded: each is in the backup before it is taken off, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from aiormq.abc import AbstractConnection, DeliveredMessage

from stream.operations.dead_letters import discard
from stream.operations.dead_letters.backup import Backup, read_backup
from stream.operations.dead_letters.filters import Filter
from tests.unit.dead_letter_queue import Broker, delivered
from tests.unit.test_letters import BODY, WRITTEN


def letters(*headers: dict[str, Any]) -> list[DeliveredMessage]:
    return [delivered(BODY, {**WRITTEN, **each}) for each in headers]


async def discarded(broker: Broker, path: Path, looks: int = 3) -> int:
    """Discard all letters, with so many looks at most; returns how many are in the backup."""
    with Backup(path, "a test") as backup:
        discarding = discard._Discarding(Filter(), backup, [])
        for _ in range(looks):
            if not await discarding.look(cast("AbstractConnection", broker)):
                break
            broker.loses_acks = False
    return discarding.count


async def test_two_letters_with_the_same_body_and_moment_are_both_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discard, "BATCH", 1)
    broker = Broker(letters({"x-resend": "r1"}, {"x-resend": "r2"}, {"x-resend": "r2"}))
    assert await discarded(broker, tmp_path / "a.gz") == 3
    assert len(list(read_backup(tmp_path / "a.gz"))) == 3
    assert broker.lying == []


async def test_a_letter_whose_take_off_was_lost_is_kept_once(tmp_path: Path) -> None:
    broker = Broker(letters({"n": 1}, {"n": 2}))
    broker.loses_acks = True
    assert await discarded(broker, tmp_path / "a.gz") == 2
    assert len(list(read_backup(tmp_path / "a.gz"))) == 2
    assert broker.lying == []
