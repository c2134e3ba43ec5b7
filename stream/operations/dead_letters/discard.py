"""`stream dead-letters discard`: letters out of the queue, into a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from aiormq.abc import AbstractConnection

from stream.broker.look import Look
from stream.operations.dead_letters.backup import Backup
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.job import me
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.lock import locked
from stream.operations.dead_letters.looking import Seen, letters, look_through, patiently
from stream.operations.dead_letters.options import filtered
from stream.operations.dead_letters.spool import Spool
from stream.operations.exits import CommandFailed, ExitCode, run
from stream.operations.output import Json, say
from stream.operations.rabbitmq_link import rabbitmq_connection
from stream.operations.redis_link import redis_link

# One write to the disk: so many letters and bytes at most. It is in memory three times, as JSON and compressed too.
BATCH: Final = 500
BATCH_BYTES: Final = 8 * 1024 * 1024


@filtered
def discard(
    wanted: Filter,
    *,
    reason: Annotated[str, typer.Option(help="Why; it stands in the file.")],
    backup: Annotated[Path, typer.Option("--backup", metavar="FILE", help="A new file, for `import`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without it, the letters are only counted.")] = False,
    as_json: Json = False,
) -> None:
    """Take letters off the queue, into a compressed file that `import` brings back."""
    if not yes:
        counted: list[str] = []
        run(look_through(wanted, lambda seen: counted.append(seen.letter.id)))
        say(f"{len(counted)} letters would be discarded", {"wouldDiscard": len(counted)}, as_json=as_json)
        return
    begun: list[_Discarding] = []
    try:
        run(_discard(wanted, reason, backup, begun))
    finally:  # also after a signal, or without a server
        for each in begun:
            facts = {"discarded": each.count, "backup": str(backup)}
            where = f" into {backup}" if each.count else ""  # a backup without a letter is not left there
            say(f"discarded {each.count} letters{where}", facts, as_json=as_json)


async def _discard(wanted: Filter, reason: str, path: Path, begun: list[_Discarding]) -> None:
    facts = {"who": me(), "since": datetime.now(UTC).isoformat(), "what": f"discards into {path}"}
    lost: list[ExitCode] = []
    async with redis_link() as link, locked(link.redis, facts, lost.append):
        with _new(path, reason) as backup:
            discarding = _Discarding(wanted, backup, lost)
            begun.append(discarding)
            async with rabbitmq_connection() as connection:
                while await patiently(partial(discarding.look, connection)):
                    pass


def _new(path: Path, reason: str) -> Backup:
    try:
        return Backup(path, reason)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be made: {error.strerror}", ExitCode.WRONG_USE) from None


@dataclass(frozen=True, slots=True)
class Found:
    """A letter that is to be taken off.

    Attributes:
        letter: What it says.
        tag: By which it is taken off.
        place: Where its message is in the spool.
        kept: It is in the backup since an earlier look.
    """

    letter: Letter
    tag: int
    place: tuple[int, int]
    kept: bool


class _Discarding:
    """Keeps letters and takes them off; what was not taken off for certain, at the next look.

    Attributes:
        kept: Ids of the letters that are in the backup.
        count: Letters that are in the backup; two that are the same have one id.
    """

    def __init__(self, wanted: Filter, backup: Backup, lost: list[ExitCode]) -> None:
        self.kept: set[str] = set()
        self.count = 0
        self._wanted = wanted
        self._backup = backup
        self._lost = lost
        self._choosing = True  # until a look has shown all: what comes later stays

    async def look(self, connection: AbstractConnection) -> bool:
        """One look; returns whether there must be another: letters were taken off, or RabbitMQ did not show all."""
        now, before, found = datetime.now(UTC), frozenset(self.kept), list[Found]()
        with Spool() as spool:

            def pick(seen: Seen) -> None:
                letter, kept = seen.letter, seen.letter.id in before
                if kept or (self._choosing and self._wanted.takes(letter, now)):
                    found.append(Found(letter, seen.message.delivery_tag or 0, spool.keep(seen.message), kept))

            gives_back = self._wanted != Filter()
            async with letters(connection, pick, now=now, gives_back=gives_back) as look:
                shown_all = await look.catch_up(look.goal)
                for batch in batches(found):
                    await self._batch(batch, look, spool)
        self._choosing = self._choosing and not shown_all
        return bool(found) or not shown_all

    async def _batch(self, found: list[Found], look: Look, spool: Spool) -> None:
        if self._lost:
            raise CommandFailed(
                "the lock was lost; what is in the backup is safe, the rest still lies there", self._lost[0]
            )
        new = [(each.letter, spool.parts(each.place)) for each in found if not each.kept]
        try:
            self._backup.keep(new)
        except OSError as error:
            raise CommandFailed(f"the backup cannot be written: {error.strerror}", ExitCode.STOPPED) from None
        self.kept.update(each.letter.id for each in found)
        self.count += len(new)
        for each in found:
            await look.take_off(each.tag)


def batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    """Letters that are written together, and taken off together then."""
    batch, size = list[Found](), 0
    for each in found:
        _, length = each.place
        if batch and (len(batch) >= BATCH or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += length
    if batch:
        yield batch
