"""`stream dead-letters import`: discarded letters out of a file, back into the queue."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from stream.broker.handover import publish_copy
from stream.contract.publications import DEAD_LETTER
from stream.operations.dead_letters.backup import Kept, StoredLetters
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.job import me
from stream.operations.dead_letters.lock import locked
from stream.operations.dead_letters.looking import look_through
from stream.operations.exits import CommandFailed, ExitCode, run
from stream.operations.output import Json, say
from stream.operations.rabbitmq_link import rabbitmq_connection
from stream.operations.redis_link import redis_link

File = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False)]


def import_(backup: File, *, as_json: Json = False) -> None:
    """Bring discarded letters back. Those that lie on the queue already are left out."""
    begun: list[Imported] = []
    try:
        run(_import(backup, begun))
    finally:  # also after a signal, or without a server
        for each in begun:
            say(each.words, asdict(each), as_json=as_json)


@dataclass(slots=True)
class Imported:
    """What an import has done.

    Attributes:
        imported: Letters that it brought back.
        there: Letters that lay on the queue.
        cut: The file's last batch is not whole.
    """

    imported: int = 0
    there: int = 0
    cut: bool = False

    @property
    def words(self) -> str:
        """For people."""
        cut = "; the last batch is cut off: if the discard was interrupted, its letters still lie on the queue"
        return f"brought {self.imported} letters back, {self.there} were there{cut if self.cut else ''}"


async def _import(path: Path, begun: list[Imported]) -> None:
    facts = {"who": me(), "since": datetime.now(UTC).isoformat(), "what": f"imports {path}"}
    lost: list[ExitCode] = []
    async with redis_link() as link, locked(link.redis, facts, lost.append):
        begun.append(Imported())
        await _bring_back(path, lost, begun[0])


async def _bring_back(path: Path, lost: list[ExitCode], done: Imported) -> None:
    there: set[str] = set()
    await look_through(Filter(), lambda seen: there.add(seen.letter.id))
    async with rabbitmq_connection() as connection:
        channel = await connection.channel()
        stored = StoredLetters(path)
        for kept in read(stored, path):
            if lost:
                raise CommandFailed("the lock was lost: import the file again, it leaves out what is there", lost[0])
            if kept.id in there:
                done.there += 1
                continue
            await publish_copy(channel, kept.copy, DEAD_LETTER.exchange, DEAD_LETTER.key)
            done.imported += 1
        done.cut = stored.cut


def read(stored: StoredLetters, path: Path) -> Iterator[Kept]:
    """The letters of a file.

    Raises:
        CommandFailed: It is no backup, or damaged.
    """
    try:
        yield from stored
    except (OSError, ValueError, TypeError, KeyError, zlib.error) as error:
        raise CommandFailed(f"{path} is no backup that can be read: {error}", ExitCode.WRONG_USE) from None
