"""`stream dead-letters discard` and `import`: letters out of the queue into a file, and back."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from aiormq.abc import AbstractConnection

from stream.broker.handover import publish_copy
from stream.broker.look import Look
from stream.contract.publications import DEAD_LETTER
from stream.operations.dead_letters.backup import Backup, Kept, read_backup
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.job import me
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.lock import locked
from stream.operations.dead_letters.looking import Seen, letters, look_through
from stream.operations.dead_letters.options import filtered
from stream.operations.dead_letters.spool import Spool
from stream.operations.exits import CommandFailed, ExitCode, run
from stream.operations.output import Json, say
from stream.operations.rabbitmq_link import rabbitmq_connection
from stream.operations.redis_link import redis_link

BATCH: Final = 500  # letters in one write to the disk

File = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False)]


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
    count = run(_discard(wanted, reason, backup))
    say(f"discarded {count} letters into {backup}", {"discarded": count, "backup": str(backup)}, as_json=as_json)


def import_(backup: File, *, as_json: Json = False) -> None:
    """Bring discarded letters back. Those that lie on the queue already are left out."""
    facts = run(_import(backup))
    say(f"brought {facts['imported']} letters back, {facts['there']} were there", facts, as_json=as_json)


async def _discard(wanted: Filter, reason: str, path: Path) -> int:
    facts = {"who": me(), "since": datetime.now(UTC).isoformat(), "what": f"discards into {path}"}
    lost: list[str] = []
    async with redis_link() as link, locked(link.redis, facts, lambda: lost.append("lock")):
        with _new(path, reason) as backup:
            discarding = _Discarding(wanted, backup, lost)
            async with rabbitmq_connection() as connection:
                while await discarding.look(connection):
                    pass
    return discarding.count


def _new(path: Path, reason: str) -> Backup:
    try:
        return Backup(path, reason)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be made: {error.strerror}", ExitCode.WRONG_USE) from None


@dataclass(frozen=True, slots=True)
class _Found:
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

    def __init__(self, wanted: Filter, backup: Backup, lost: list[str]) -> None:
        self.kept: set[str] = set()
        self.count = 0
        self._wanted = wanted
        self._backup = backup
        self._lost = lost
        self._choosing = True  # until a look has shown all: what comes later stays

    async def look(self, connection: AbstractConnection) -> bool:
        """One look; returns whether there must be another: letters were taken off, or RabbitMQ did not show all."""
        now, before, found = datetime.now(UTC), frozenset(self.kept), list[_Found]()
        with Spool() as spool:

            def pick(seen: Seen) -> None:
                letter, kept = seen.letter, seen.letter.id in before
                if kept or (self._choosing and self._wanted.takes(letter, now)):
                    found.append(_Found(letter, seen.message.delivery_tag or 0, spool.keep(seen.message), kept))

            async with letters(connection, pick, now=now) as look:
                shown_all = await look.catch_up(look.goal)
                for start in range(0, len(found), BATCH):
                    await self._batch(found[start : start + BATCH], look, spool)
        self._choosing = self._choosing and not shown_all
        return bool(found) or not shown_all

    async def _batch(self, found: list[_Found], look: Look, spool: Spool) -> None:
        if self._lost:
            raise CommandFailed(
                "the lock was lost; what is in the backup is safe, the rest still lies there", ExitCode.STOPPED
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


async def _import(path: Path) -> dict[str, Any]:
    facts = {"who": me(), "since": datetime.now(UTC).isoformat(), "what": f"imports {path}"}
    lost: list[str] = []
    async with redis_link() as link, locked(link.redis, facts, lambda: lost.append("lock")):
        return await _bring_back(path, lost)


async def _bring_back(path: Path, lost: list[str]) -> dict[str, Any]:
    there: set[str] = set()
    counts: Counter[str] = Counter()
    await look_through(Filter(), lambda seen: there.add(seen.letter.id))
    async with rabbitmq_connection() as connection:
        channel = await connection.channel()
        for kept in _read(path):
            if lost:
                raise CommandFailed(
                    "the lock was lost: import the file again, it leaves out what is there", ExitCode.STOPPED
                )
            if kept.id in there:
                counts["there"] += 1
                continue
            await publish_copy(channel, kept.copy, DEAD_LETTER.exchange, DEAD_LETTER.key)
            counts["imported"] += 1
    return {"imported": counts["imported"], "there": counts["there"]}


def _read(path: Path) -> Iterator[Kept]:
    try:
        yield from read_backup(path)
    except (OSError, ValueError, TypeError, KeyError, zlib.error) as error:
        raise CommandFailed(f"{path} is no backup that can be read: {error}", ExitCode.WRONG_USE) from None
