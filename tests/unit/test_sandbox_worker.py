"""What a worker's log is read as, while the worker writes it."""

from __future__ import annotations

from pathlib import Path

from sandbox.worker import WorkerProcess


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    worker = WorkerProcess({}, tmp_path / "worker.log")
    worker.log.write_bytes(b'{"event":"consuming"}\nTraceback\n{"event":"cons')
    assert [line["event"] for line in worker.lines()] == ["consuming"]
