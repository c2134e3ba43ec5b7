"""Letters that are discarded: each is in the backup before it is taken off, once."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from aiormq.abc import AbstractConnection, DeliveredMessage

from stream.broker import look as mechanics
from stream.operations.dead_letters import bring_back, discard
from stream.operations.dead_letters.backup import Backup, StoredLetters
from stream.operations.dead_letters.filters import Filter
from stream.operations.exits import CommandFailed, ExitCode
from tests.unit.dead_letter_queue import Broker, delivered
from tests.unit.doubles import properties_of
from tests.unit.test_letters import BODY, WRITTEN, letter


def letters(*headers: dict[str, Any]) -> list[DeliveredMessage]:
    return [delivered(BODY, {**WRITTEN, **each}) for each in headers]


async def discarded(broker: Broker, path: Path, looks: int = 3) -> int:
    """Discard all letters, with so many looks at most; returns how many are in the backup."""
    with Backup(path, "a test") as backup:
        discarding = discard._Discarding(Filter(), backup, [])
        for _ in range(looks):
            if not await discarding.look(cast("AbstractConnection", broker)):
                break
            broker.loses_acks, broker.silent = False, 0
    return discarding.count


async def test_two_letters_with_the_same_body_and_moment_are_both_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discard, "BATCH", 1)
    broker = Broker(letters({"x-resend": "r1"}, {"x-resend": "r2"}, {"x-resend": "r2"}))
    assert await discarded(broker, tmp_path / "a.gz") == 3
    assert len(list(StoredLetters(tmp_path / "a.gz"))) == 3
    assert broker.lying == []


async def test_a_letter_whose_take_off_was_lost_is_kept_once(tmp_path: Path) -> None:
    broker = Broker(letters({"n": 1}, {"n": 2}))
    broker.loses_acks = True
    assert await discarded(broker, tmp_path / "a.gz") == 2
    assert len(list(StoredLetters(tmp_path / "a.gz"))) == 2
    assert broker.lying == []


async def test_letters_that_rabbitmq_does_not_show_at_once_are_discarded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mechanics, "QUIET_S", 0.001)
    broker = Broker(letters({"n": 1}, {"n": 2}, {"n": 3}))
    broker.silent = 2
    assert await discarded(broker, tmp_path / "a.gz") == 3
    assert len(list(StoredLetters(tmp_path / "a.gz"))) == 3
    assert broker.lying == []


def test_a_discard_that_wrote_nothing_leaves_no_file_in_the_way_of_the_next(tmp_path: Path) -> None:
    for _ in range(2):
        with Backup(tmp_path / "a.gz", "a test"):
            pass  # RabbitMQ is away
    assert not (tmp_path / "a.gz").exists()


@pytest.mark.parametrize("code", [ExitCode.STOPPED, ExitCode.UNREACHABLE])
async def test_a_discard_whose_lock_was_lost_ends_with_what_took_it(tmp_path: Path, code: ExitCode) -> None:
    broker = Broker(letters({"n": 1}))
    with Backup(tmp_path / "a.gz", "a test") as backup:
        discarding = discard._Discarding(Filter(), backup, [code])
        with pytest.raises(CommandFailed, match="the lock was lost") as failed:
            await discarding.look(cast("AbstractConnection", broker))
    assert (failed.value.code, len(broker.lying)) == (code, 1)


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([], []),
        ([1_000] * 1_200, [500, 500, 200]),
        ([5 * MIB, 3 * MIB, 1, 9 * MIB, 4 * MIB, 4 * MIB], [2, 1, 1, 2]),
    ],
    ids=["none", "small ones", "large ones"],
)
def test_a_batch_has_a_bound_in_letters_and_in_bytes(lengths: list[int], sizes: list[int]) -> None:
    found = [discard.Found(letter(), tag, (0, length), kept=False) for tag, length in enumerate(lengths)]
    made = list(discard.batches(found))
    assert [len(batch) for batch in made] == sizes
    assert [each for batch in made for each in batch] == found


async def test_a_backup_that_is_cut_off_anywhere_gives_what_is_whole_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discard, "BATCH", 2)
    path, ends = tmp_path / "a.gz", [0]
    broker = Broker(letters(*({"n": n} for n in range(4))))
    monkeypatch.setattr(Backup, "keep", noting_ends(ends, path))
    await discarded(broker, path)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        stored = StoredLetters(path)
        read = len(list(stored))
        assert read >= 2 * sum(end <= cut for end in ends[1:])
        assert stored.cut is (cut not in ends)
    assert read == 4


def noting_ends(ends: list[int], path: Path) -> Callable[[Backup, Any], None]:
    """`Backup.keep`, which notes where each batch ends."""
    keep = Backup.keep

    def noting(backup: Backup, some: Any) -> None:
        keep(backup, some)
        if some:
            ends.append(path.stat().st_size)

    return noting


def test_the_name_of_a_new_backup_is_on_the_disk_before_a_letter_is_taken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    with Backup(tmp_path / "a.gz", "a test"):
        assert synced == [tmp_path]


async def test_a_letter_of_another_user_and_with_an_expiration_can_be_brought_back(tmp_path: Path) -> None:
    broker = Broker([delivered(BODY, WRITTEN, user_id="somebody", expiration="60000", priority=3)])
    await discarded(broker, tmp_path / "a.gz")
    (kept,) = StoredLetters(tmp_path / "a.gz")
    properties = properties_of(kept.copy)
    assert (properties.user_id, properties.expiration, properties.priority) == (None, None, 3)
    headers: dict[str, Any] = dict(properties.headers or {})
    assert headers == {**WRITTEN, "x-original-user-id": "somebody", "x-original-expiration": "60000"}
    assert letter(**headers).id == kept.id  # a second import finds it


@pytest.mark.parametrize(
    "damage",
    [gzip.compress(b"[1]\n"), gzip.compress(b"text\n")[:10] + b"\xff" * 20, b"text"],
    ids=["another file", "cut", "no gzip"],
)
def test_a_damaged_backup_is_named_in_one_sentence(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(damage)
    with pytest.raises(CommandFailed, match="is no backup that can be read"):
        list(bring_back.read(StoredLetters(path), path))
