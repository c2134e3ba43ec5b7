"""Discarded letters in a file: compressed, complete, and readable up to the last one that was taken off its queue.

The file is a series of gzip members, one for a batch of letters. A batch is on the disk before its letters are taken
off. Each line is a JSON object: the letter's summary, its body, and its properties as AMQP's own bytes.
"""

from __future__ import annotations

import base64
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

import orjson

from stream.broker import properties as wire
from stream.broker.republish import Copy, keep_aside
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.spool import Parts

OWNER_ONLY: Final = 0o600  # it has recipients and texts in it
READ_BYTES: Final = 1024 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS  # zlib's word for a gzip member


@dataclass(frozen=True, slots=True)
class Kept:
    """A letter from a backup.

    Attributes:
        id: The letter's.
        reason: Why it was discarded.
        copy: The same body and properties; `user_id` and `expiration` are headers.
    """

    id: str
    reason: str
    copy: Copy


class Backup:
    """A backup that is being written; at its end there is no file if no letter is in it, so that one may try again.

    Args:
        path: A file that is not there yet.
        reason: Why the letters are discarded.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self._file: IO[bytes] = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb")
        _sync_folder(path.parent)  # or a machine that stops would forget the file's name
        self._path = path
        self._reason = reason
        self._holds_letters = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what a full disk did not take was not taken off either
            self._file.close()
        if not self._holds_letters:
            self._path.unlink(missing_ok=True)

    def keep(self, letters: Sequence[tuple[Letter, Parts]]) -> None:
        """Write letters; they are on the disk when this returns."""
        lines = [orjson.dumps(self._line(*each)) + b"\n" for each in letters]
        self._file.write(gzip.compress(b"".join(lines)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._holds_letters = True

    def _line(self, letter: Letter, parts: Parts) -> dict[str, Any]:
        return {
            "letter": letter.to_json(),
            "reason": self._reason,
            "flags": parts.flags,
            "properties": base64.b64encode(parts.properties).decode(),
            "body": base64.b64encode(parts.body).decode(),
        }


class StoredLetters:
    """The letters of a backup, in their order.

    Args:
        path: The file.

    Attributes:
        cut: Once they have been read: the last batch is not whole. If it was the discard that was interrupted, its
            letters were not taken off their queue; those of them that are whole are read too.
    """

    def __init__(self, path: Path) -> None:
        self.cut = False
        self._path = path

    def __iter__(self) -> Iterator[Kept]:
        with self._path.open("rb") as file:
            for lines in self._batches(file):
                for line in lines:
                    yield _kept(orjson.loads(line))

    def _batches(self, file: IO[bytes]) -> Iterator[list[bytes]]:
        """The whole lines of each batch.

        Raises:
            zlib.error: It is not gzip.
        """
        batch, content = zlib.decompressobj(_GZIP), b""
        while piece := batch.unused_data or file.read(READ_BYTES):
            if batch.eof:
                batch, content = zlib.decompressobj(_GZIP), b""
            content += batch.decompress(piece)
            *lines, content = content.split(b"\n")
            yield lines
        self.cut = not batch.eof and file.tell() > 0


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _kept(fields: dict[str, Any]) -> Kept:
    values = wire.split(fields["flags"], base64.b64decode(fields["properties"]))
    table = wire.split_table(values["headers"]) if "headers" in values else {}
    for count in (b"x-delivery-count", b"x-acquired-count"):  # RabbitMQ's own, of its earlier time on the queue
        table.pop(count, None)
    keep_aside(values, table)
    values["headers"] = wire.join_table(table)
    return Kept(fields["letter"]["id"], fields["reason"], Copy(base64.b64decode(fields["body"]), values))
