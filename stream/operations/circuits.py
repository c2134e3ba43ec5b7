"""`stream circuits`: which circuits are open, and opening and closing them by hand. Needs Redis alone."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from stream.contract.events import Scope
from stream.operations.arguments import tenant_id
from stream.operations.exits import CommandFailed, ExitCode, run
from stream.operations.output import Json, say
from stream.operations.redis_link import redis_link
from stream.traffic.by_hand import CircuitsByHand, Place
from stream.traffic.circuit import Circuit, State

app = typer.Typer(help="Circuits: whose messages wait because they would fail.")


class Kind(StrEnum):
    """What a circuit is for, as an operator types it."""

    TENANT = "tenant"
    NUMBER = "number"
    PLATFORM = "platform"


SCOPES: Final = {Kind.TENANT: Scope.TENANT, Kind.NUMBER: Scope.PHONE_NUMBER, Kind.PLATFORM: Scope.PLATFORM}
KINDS: Final = {scope: kind for kind, scope in SCOPES.items()}

What = Annotated[Kind, typer.Argument(metavar="SCOPE", help="tenant, number or platform")]
Name = Annotated[str, typer.Argument(metavar="ID", help="a tenant id, TENANT/NUMBER, or meta for the platform")]
Reason = Annotated[str, typer.Option(help="Why; it is in the log line of each message that waits.")]


@app.command("list", epilog="Example: stream circuits list --json")
def list_open(*, as_json: Json = False) -> None:
    """List the circuits that are open, or half open."""
    found = run(_list())
    for place, circuit in found:
        say(_text(place, circuit), _facts(place, circuit), as_json=as_json)
    if not found and not as_json:
        typer.echo("no circuit is open")


@app.command("open", epilog='Example: stream circuits open tenant acme --reason "token is being replaced"')
def open_one(what: What, name: Name, *, reason: Reason, as_json: Json = False) -> None:
    """Open a circuit: its messages wait, and nothing probes, until it is closed by hand."""
    place = run(_open(what, name, reason))
    say(f"opened {KINDS[place.scope]} {place.name}", {"scope": what, "id": place.name}, as_json=as_json)


@app.command("close", epilog="Example: stream circuits close number acme/100000001")
def close_one(what: What, name: Name, *, as_json: Json = False) -> None:
    """Close a circuit: its messages go when they look next, which is up to ten minutes later."""
    place, before = run(_close(what, name))
    was_open = before.state is not State.CLOSED
    text = f"closed {what} {place.name}" if was_open else f"{what} {place.name} was not open"
    say(text, {"scope": what, "id": place.name, "closed": was_open}, as_json=as_json)


async def _list() -> list[tuple[Place, Circuit]]:
    async with redis_link() as link:
        return [found async for found in CircuitsByHand(link).open_ones()]


async def _open(what: Kind, name: str, reason: str) -> Place:
    place = _place(what, name)
    if place.scope is not Scope.PLATFORM:
        tenant_id(place.tenant_id)  # only here: what was opened under a wrong id can still be closed
    async with redis_link() as link:
        await CircuitsByHand(link).open(place, reason)
    return place


async def _close(what: Kind, name: str) -> tuple[Place, Circuit]:
    place = _place(what, name)
    async with redis_link() as link:
        return place, await CircuitsByHand(link).close(place)


def _place(what: Kind, name: str) -> Place:
    try:
        return Place.named(SCOPES[what], name)
    except ValueError as error:
        raise CommandFailed(f"{name}: {error}", ExitCode.WRONG_USE) from None


def _text(place: Place, circuit: Circuit) -> str:
    state = "open by hand" if circuit.by_hand else circuit.state.replace("_", " ")
    row = "" if circuit.by_hand else f" after {circuit.failures} failures, next probe {_moment(circuit.ends)}"
    return f"{KINDS[place.scope]} {place.name}: {state}, {circuit.reason}, since {_moment(circuit.since)}{row}"


def _facts(place: Place, circuit: Circuit) -> dict[str, Any]:
    return {
        "scope": KINDS[place.scope],
        "id": place.name,
        "state": circuit.state,
        "reason": circuit.reason,
        "failures": circuit.failures,
        "since": _moment(circuit.since),
        "nextProbe": None if circuit.by_hand else _moment(circuit.ends),
        "byHand": circuit.by_hand,
    }


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
