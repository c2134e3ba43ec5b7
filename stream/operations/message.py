"""`stream message`: one message's life, as far as dead letters, the ledger and the queues know it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from stream.contract.decoding import decode
from stream.contract.identifiers import TenantId
from stream.contract.messages import InvalidMessage
from stream.delivery.ledger import key_of
from stream.operations.arguments import tenant_id
from stream.operations.dead_letters.copying import ledger_key
from stream.operations.dead_letters.filters import Filter
from stream.operations.dead_letters.known import known_of
from stream.operations.dead_letters.letter import Letter
from stream.operations.dead_letters.looking import Seen, look_through
from stream.operations.dead_letters.plan import Known
from stream.operations.environment import intake_queue
from stream.operations.exits import CommandFailed, ExitCode, run
from stream.operations.output import Json, printable
from stream.operations.queues import Queues, read_queues
from stream.operations.rabbitmq_link import rabbitmq_connection
from stream.operations.redis_link import redis_link

NOTHING: Final = (
    "no dead letter of it lies there; with --body FILE the ledger can be asked, which knows messages by content"
)


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a message was found, and what the ledger knows of it.

    Attributes:
        letter: Its dead letter; `None` for one that is only asked for by its body.
        known: What the ledger knows.
    """

    letter: Letter | None
    known: Known

    def to_json(self) -> dict[str, Any]:
        """The object that scripts get."""
        return {
            "place": "dead letters" if self.letter else "ledger",
            "ledger": self.state,
            "wamid": self.known.wamid,
            "letter": self.letter.to_json() if self.letter else None,
            "job": self.letter.job if self.letter else None,
        }

    def to_text(self) -> str:
        """For people."""
        sent = f", {self.known.wamid}" if self.known.wamid else ""
        if self.letter is None:
            return f"ledger: {self.state}{sent}"
        letter = self.letter
        replayed = f", replayed {letter.replays} times, last by job {letter.job}" if letter.replays else ""
        return (
            f"dead letter {letter.id}: {letter.error_type} at {letter.failed_at}, attempts: {letter.attempts}, "
            f"replay: {letter.replay}{replayed}; ledger: {self.state}{sent}\n  {letter.detail}"
        )

    @property
    def state(self) -> str:
        """The ledger's word."""
        if self.known.wamid is not None:
            return "sent"
        return "in doubt, or being sent" if self.known.in_doubt else "not known as sent"


def message(
    internal_id: Annotated[str, typer.Argument(metavar="INTERNAL_ID", help="metadata.internalId")],
    *,
    tenant: Annotated[TenantId, typer.Option("--tenant", parser=tenant_id, metavar="TENANT", help="Whose it is.")],
    body: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The message as it was published.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is known of one message: its dead letters, what the ledger says, and how many lie on the queues."""
    traces, queues = run(_ask(internal_id, tenant, body.read_bytes() if body else b""))
    if not traces:
        typer.echo(NOTHING, err=True)
    places: list[Trace | Queues] = [*traces, queues]
    for found in places:
        typer.echo(orjson.dumps(found.to_json()).decode() if as_json else printable(found.to_text()))


async def _ask(internal_id: str, tenant: TenantId, body: bytes) -> tuple[list[Trace], Queues]:
    intake, traces = intake_queue(), await _traces(internal_id, tenant, body)
    async with rabbitmq_connection() as connection:
        return traces, await read_queues(connection, intake)


async def _traces(internal_id: str, tenant: TenantId, body: bytes) -> list[Trace]:
    letters: list[Letter] = []
    keys: list[str] = []

    def visit(seen: Seen) -> None:
        if seen.letter.internal_id == internal_id:
            letters.append(seen.letter)
            keys.append(ledger_key(seen.message.body, seen.message.header.properties.headers or {}))

    await look_through(Filter(tenant=tenant), visit)
    if body:
        keys.append(_key(body))
    async with redis_link() as link:
        known = await known_of(link.redis, keys)
    return [Trace(letter, found) for letter, found in zip([*letters, *[None] * bool(body)], known, strict=True)]


def _key(content: bytes) -> str:
    try:
        return key_of(decode(content))
    except InvalidMessage as error:
        raise CommandFailed(f"--body is no message: {error}", ExitCode.WRONG_USE) from None
