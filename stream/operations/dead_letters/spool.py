"""The messages of a job's letters, on disk until their turn comes: memory holds a few words of each."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import SEEK_END
from tempfile import TemporaryFile
from typing import Final, Self

from aio_pika.message import IncomingMessage
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from stream.broker.wire import ArrivedHeaders
from stream.operations.exits import CommandFailed, ExitCode

_HEAD: Final = struct.Struct(">HI")  # the flags of the properties, and the length of their bytes


@contextmanager
def disk_is_named() -> Iterator[None]:
    """Say of a temporary file that it failed: on a connection, an `OSError` would be taken for the loss of RabbitMQ.

    Raises:
        CommandFailed: No folder can be written, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        sentence = f"a temporary file cannot be written: {error.strerror}; name a folder with room in TMPDIR"
        raise CommandFailed(sentence, ExitCode.STOPPED) from None


@dataclass(frozen=True, slots=True)
class Parts:
    """A message as it lay on its queue.

    Attributes:
        flags: Which properties it has.
        properties: Their bytes.
        body: Its body.
    """

    flags: int
    properties: bytes
    body: bytes


class Spool:
    """A temporary file of messages, which nobody else can read.

    Raises:
        CommandFailed: No folder can be written.
    """

    @disk_is_named()
    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - it lives as long as the object

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what a full disk did not take is not needed any more
            self._file.close()

    @disk_is_named()
    def keep(self, message: DeliveredMessage) -> tuple[int, int]:
        """Write a message down; returns its place.

        Raises:
            CommandFailed: The disk is full.
        """
        headers = message.header.properties.headers
        if not isinstance(headers, ArrivedHeaders):
            raise TypeError("the message came on a connection without the guard of stream.broker.wire")
        start = self._file.seek(0, SEEK_END)
        self._file.write(_HEAD.pack(headers.flags, len(headers.data)) + headers.data + message.body)
        self._file.flush()
        return start, self._file.tell() - start

    def parts(self, place: tuple[int, int]) -> Parts:
        """Read a message back."""
        start, length = place
        self._file.seek(start)
        flags, size = _HEAD.unpack(self._file.read(_HEAD.size))
        properties = self._file.read(size)
        return Parts(flags, properties, self._file.read(length - _HEAD.size - size))

    def take(self, place: tuple[int, int], channel: AbstractChannel) -> IncomingMessage:
        """Read a message back, as one that came on `channel`."""
        parts, properties = self.parts(place), Basic.Properties()
        properties.unmarshal(parts.flags, parts.properties)
        header = ContentHeader(body_size=len(parts.body), properties=properties)
        return IncomingMessage(DeliveredMessage(Basic.Deliver("look"), header, parts.body, channel))
